"""The wheel in fresh environments beside dbt-osmosis: pip, uv, editable, uninstalled."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import BIN, clean_environment

pytestmark = pytest.mark.packaging

FLAGS = ("--llm-prompt-file", "--llm-stats", "--llm-timeout", "--llm-provider", "--llm-model")


def run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def bin_of(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def new_environment(path: Path) -> Path:
    run(BIN / "uv", "venv", "--quiet", "--seed", "--python", sys.executable, path)
    return path


def help_of(environment: Path) -> str:
    done = run(bin_of(environment) / "dbt-osmosis", "yaml", "document", "--help")
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    run(BIN / "uv", "build", "--quiet", "--wheel", "--sdist", "--out-dir", target, root)
    assert len(list(target.glob("*.tar.gz"))) == 1
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_carries_the_hook_and_nothing_else_at_top_level(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.read("dbt_osmosis_llm.pth") == b"import dbt_osmosis_llm._autoload\n"
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "dbt_osmosis_llm",
        "dbt_osmosis_llm.pth",
    }
    assert "dbt_osmosis_llm/py.typed" in names


def test_installed_with_pip_and_uninstalled(root: Path, wheel: Path, tmp_path: Path) -> None:
    environment = new_environment(tmp_path / "pip")
    python = bin_of(environment) / "python"
    constraints = ("--constraint", str(root / "constraints.txt"))
    run(python, "-m", "pip", "install", "--quiet", *constraints, "dbt-osmosis", "dbt-duckdb")
    plain = help_of(environment)
    run(python, "-m", "pip", "install", "--quiet", *constraints, wheel)
    shown = help_of(environment)
    assert all(flag in shown and flag not in plain for flag in FLAGS)
    # Installed without extras: the SDK that is missing is named, before dbt is loaded.
    done = subprocess.run(
        [bin_of(environment) / "dbt-osmosis", "yaml", "document", "--synthesize"],
        env=clean_environment(LLM_PROVIDER="anthropic", ANTHROPIC_API_KEY="none"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'dbt-osmosis-llm[anthropic]'" in done.stderr
    assert "Traceback" not in done.stderr
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "dbt-osmosis-llm")
    assert help_of(environment) == plain


def test_installed_with_uv_and_editable(root: Path, wheel: Path, tmp_path: Path) -> None:
    environment = new_environment(tmp_path / "uv")
    install = (BIN / "uv", "pip", "install", "--quiet", "--python", bin_of(environment) / "python")
    constraints = ("--constraint", str(root / "constraints.txt"))
    run(*install, *constraints, wheel, "dbt-duckdb")
    assert all(flag in help_of(environment) for flag in FLAGS)
    run(*install, *constraints, "--reinstall-package", "dbt-osmosis-llm", "--editable", root)
    assert all(flag in help_of(environment) for flag in FLAGS)
    done = run(
        bin_of(environment) / "python", "-c", "import dbt_osmosis_llm as p; print(p.__file__)"
    )
    assert Path(done.stdout.strip()).is_relative_to(root)
