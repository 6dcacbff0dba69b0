"""The hook in a host that is not what we know: it starts all the same."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

from dbt_osmosis_llm import cli
from tests.conftest import BIN, clean_environment


def host(**attributes: object) -> ModuleType:
    module = ModuleType("dbt_osmosis.cli.main")
    group = click.Group("cli", commands=[click.Command("test-llm", callback=lambda: None)])
    for name, value in {"cli": group, **attributes}.items():
        setattr(module, name, value)
    return module


def command(*options: str) -> click.Command:
    return click.Command(
        "document", params=[click.Option([o]) for o in options], callback=lambda **_: None
    )


def synthesize(context: object, node: object = None) -> None:
    """Stand for the host's own synthesis."""


def test_extends_once() -> None:
    module = host(
        document=command("--synthesize"),
        refactor=command("--synthesize"),
        synthesize_missing_documentation_with_openai=synthesize,
    )
    cli.extend(module)
    cli.extend(module)
    names = [param.name for param in module.document.params]
    assert len(names) == len(set(names))
    assert "llm_show_stats" in names
    assert "llm" in module.cli.commands
    names = [param.name for param in module.cli.commands["test-llm"].params]
    assert len(names) == len(set(names))
    assert "llm_provider" in names


@pytest.mark.parametrize(
    ("attributes", "missing"),
    [
        ({}, "has no command document, has no command refactor, has no function synthesize_"),
        (
            {
                "document": command("--synthesize"),
                "refactor": command("--synthesize"),
                "synthesize_missing_documentation_with_openai": lambda context, node, more: None,
            },
            "has no function synthesize_missing_documentation_with_openai of a context and a node.",
        ),
        (
            {
                "document": command("--synthesize"),
                "refactor": command("--other"),
                "synthesize_missing_documentation_with_openai": synthesize,
            },
            "has no option --synthesize of refactor.",
        ),
        (
            {
                "cli": click.Group("cli"),
                "document": command("--synthesize"),
                "refactor": command("--synthesize"),
                "synthesize_missing_documentation_with_openai": synthesize,
            },
            "has no command test-llm.",
        ),
    ],
)
def test_a_missing_hook_changes_nothing_and_says_so(
    attributes: dict[str, object], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = host(**attributes)
    before = dict(vars(module))
    cli.extend(module)
    warning = capsys.readouterr().err
    assert missing in warning
    assert "fits dbt-osmosis >=1.5,<2" in warning
    assert warning.count("\n") == 1
    assert vars(module) == before
    assert "llm" not in module.cli.commands
    if "document" in attributes:
        assert [param.name for param in module.document.params] == ["synthesize"]


def test_a_failure_of_ours_never_stops_the_host(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import dbt_osmosis_llm.cli as cli\n"
        "def fail(host): raise RuntimeError('broken')\n"
        "cli.extend = fail\n"
    )
    done = subprocess.run(
        [BIN / "dbt-osmosis", "--version"],
        env=clean_environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "version" in done.stdout
    assert done.stderr == (
        "dbt-osmosis-llm could not extend dbt-osmosis (RuntimeError: broken); "
        "dbt-osmosis runs without it.\n"
    )
