"""Wheel and sdist in fresh environments beside dbt-osmosis: pip, uv, editable, uninstalled."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from fnmatch import fnmatch
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


def files_of_host(environment: Path) -> dict[str, str]:
    """Return the hash of each file of dbt-osmosis's."""
    (package,) = environment.rglob("dbt_osmosis/__init__.py")
    return {
        str(path.relative_to(package.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in package.parent.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def dist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    run(BIN / "uv", "build", "--quiet", "--wheel", "--sdist", "--out-dir", target, root)
    return target


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (built,) = dist.glob("*.tar.gz")
    return built


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode("utf-8"))


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_metadata_say_what_an_index_shows(root: Path, wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata["Name"] == "dbt-osmosis-llm"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (root / "README.md").read_text("utf-8")
    assert metadata["Summary"]
    assert len(metadata["Keywords"].split(",")) >= 5
    classifiers = metadata.get_all("Classifier", [])
    families = {classifier.split(" :: ")[0] for classifier in classifiers}
    assert {"Environment", "Intended Audience", "Operating System", "Topic"} <= families
    # Beside a licence expression, these are an error (PEP 639).
    assert "License" not in families
    versions = {c.rpartition(" ")[2] for c in classifiers if " :: Python :: 3." in c}
    assert versions == {"3.10", "3.11", "3.12", "3.13"}
    assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.14"}
    assert {"anthropic", "gemini", "azure", "postgres", "parquet", "all"} == set(
        metadata.get_all("Provides-Extra", [])
    )


def test_the_sdist_carries_all_that_a_contributor_needs(root: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = run("git", "-C", root, "ls-files", "-z", check=False).stdout.split("\0")
    needed = {name for name in listed if name and not name.startswith(".ci/")}
    if not needed:
        pytest.skip("no git repository")
    assert {name for name in needed - names if (root / name).exists()} == set()


def copied(dockerfile: str) -> list[str]:
    """Return what a Dockerfile copies from the folder that it is built in."""
    lines = [shlex.split(line) for line in dockerfile.splitlines() if line.startswith("COPY ")]
    return [name for line in lines if not line[1].startswith("--from") for name in line[1:-1]]


def test_the_image_is_built_from_what_is_there_and_that_is_enough(
    root: Path, wheel: Path, tmp_path: Path
) -> None:
    sources = copied((root / "Dockerfile").read_text("utf-8"))
    assert "src" in sources
    kept = [
        line.lstrip("!")
        for line in (root / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    context = tmp_path / "context"
    context.mkdir()
    for name in sources:
        assert any(fnmatch(name, pattern) for pattern in kept), f"{name} is ignored"
        if (root / name).is_dir():
            shutil.copytree(root / name, context / name)
        else:
            shutil.copy(root / name, context)
    run(BIN / "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, context)
    (built,) = tmp_path.glob("*.whl")
    assert names_in(built) == names_in(wheel)


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
    plain, files = help_of(environment), files_of_host(environment)
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
    assert files_of_host(environment) == files
    assert list(environment.rglob("dbt_osmosis_llm*")) == []


def test_installed_with_uv_from_wheel_sdist_and_editable(
    root: Path, wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    environment = new_environment(tmp_path / "uv")
    install = (BIN / "uv", "pip", "install", "--quiet", "--python", bin_of(environment) / "python")
    constraints = ("--constraint", str(root / "constraints.txt"))
    run(*install, *constraints, wheel, "dbt-duckdb")
    assert all(flag in help_of(environment) for flag in FLAGS)
    again = (*install, *constraints, "--reinstall-package", "dbt-osmosis-llm")
    run(*again, sdist)
    assert all(flag in help_of(environment) for flag in FLAGS)
    run(*again, "--editable", root)
    assert all(flag in help_of(environment) for flag in FLAGS)
    done = run(
        bin_of(environment) / "python", "-c", "import dbt_osmosis_llm as p; print(p.__file__)"
    )
    assert Path(done.stdout.strip()).is_relative_to(root)
