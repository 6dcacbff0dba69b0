"""Every name of dbt-osmosis's that we use, gone or changed: one warning, and a host untouched."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import dbt_osmosis_llm
from dbt_osmosis_llm import cli
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.llm import exceptions

NAMES = compat.names()
IDS = [name.full_name for name in NAMES]


def main_module() -> ModuleType:
    """Return a command line like the host's: the real one can be extended only once a process."""
    module = ModuleType(compat.MAIN)
    options = [click.Option(["--synthesize"], is_flag=True)]
    for name in compat.COMMANDS:
        setattr(module, name, click.Command(name, params=list(options), callback=lambda **_: None))
    test = click.Command(compat.TEST_COMMAND, callback=lambda: None)
    vars(module)["cli"] = click.Group("cli", commands=[test])
    setattr(module, compat.TRANSFORM, lambda context, node=None: None)
    return module


def commands_of(module: ModuleType) -> dict[str, click.Command]:
    """Return the commands of a command line by their names."""
    group: click.Group = vars(module)["cli"]
    return dict(group.commands)


def owner_of(name: compat.HostName) -> tuple[Any, str]:
    """Return the module or class that has a name, and its last part."""
    owner: Any = importlib.import_module(name.module)
    *path, last = name.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, last


def extended(capsys: pytest.CaptureFixture[str]) -> tuple[ModuleType, str]:
    """Extend a host; return it and what was said, which changes nothing where it is a warning."""
    module = main_module()
    before, commands = dict(vars(module)), commands_of(module)
    params = {name: list(getattr(module, name).params) for name in compat.COMMANDS}
    cli.extend(module)
    said = capsys.readouterr().err
    if said:
        assert vars(module) == before
        assert commands_of(module) == commands
        assert {name: getattr(module, name).params for name in compat.COMMANDS} == params
    return module, said


def test_the_host_is_as_we_know_it(capsys: pytest.CaptureFixture[str]) -> None:
    module, said = extended(capsys)
    assert said == ""
    assert "llm" in commands_of(module)


@pytest.mark.parametrize("name", NAMES, ids=IDS)
def test_a_name_that_is_gone(
    name: compat.HostName, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(*owner_of(name))
    _, said = extended(capsys)
    assert f"this version has no {name.full_name}. dbt-osmosis runs without it." in said
    assert said.count("\n") == 1


def used_otherwise(name: compat.HostName) -> object:
    """Return what has the name of something of the host's and is used in another way."""
    if isinstance(name, compat.HostClass):
        return type(name.name, (), {})
    if isinstance(name, compat.HostHook):
        # All that the host has now, and one more that what stands in for it could not take.
        real = inspect.signature(name.find())
        more = inspect.Parameter("one_more", inspect.Parameter.KEYWORD_ONLY, default=None)

        def newer(*arguments: Any, **keywords: Any) -> None:
            """Do nothing."""

        parameters = [*real.parameters.values(), more]
        setattr(newer, "__signature__", real.replace(parameters=parameters))  # noqa: B010
        return newer
    return lambda first_of_all, *arguments, one_more, **keywords: None


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if not isinstance(name, compat.HostClass) or name.attributes],
    ids=[
        name.full_name
        for name in NAMES
        if not isinstance(name, compat.HostClass) or name.attributes
    ],
)
def test_a_name_that_is_used_in_another_way(
    name: compat.HostName, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(*owner_of(name), used_otherwise(name))
    _, said = extended(capsys)
    assert f" {name.full_name}" in said
    assert "fits dbt-osmosis >=1.5,<2; this version" in said
    assert said.count("\n") == 1


def test_optional_arguments_that_we_do_not_give_are_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., Any] = compat.resolve_setting.find()

    def newer(
        context: Any, setting_name: str, /, node: Any = None, col: Any = None, *,
        fallback: Any = None, newest: Any = None,
    ) -> Any:  # fmt: skip
        return real(context, setting_name, node=node, col=col, fallback=fallback)

    monkeypatch.setattr(*owner_of(compat.resolve_setting), newer)
    _, said = extended(capsys)
    assert said == ""


def test_nothing_else_names_anything_of_the_host() -> None:
    source = Path(dbt_osmosis_llm.__file__).parent
    hosts = ("dbt_osmosis.", "dbt_core_interface")
    for path in source.rglob("*.py"):
        # The finder has to name the module that it waits for, before anything may be imported.
        if path.name in {"compat.py", "_autoload.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}."]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # Docstrings may speak of it.
                names = [node.value] if " " not in node.value else []
            assert not any(name.startswith(hosts) for name in names), f"{path}: {names}"


def test_our_errors_are_the_hosts_too() -> None:
    compat.share_errors()
    compat.share_errors()  # a second command in one process
    host = importlib.import_module("dbt_osmosis.core.exceptions")
    with pytest.raises(host.LLMConfigurationError):
        raise exceptions.LLMConfigError("a key is missing")
    with pytest.raises(host.LLMResponseError):
        raise exceptions.LLMRefusalError("refused")
    with pytest.raises(host.OsmosisError, match="429") as caught:
        raise exceptions.LLMRateLimitError("429", status_code=429, retry_after_s=2)
    assert caught.value.retry_after_s == 2
    assert not issubclass(exceptions.LLMAPIError, host.LLMResponseError)
