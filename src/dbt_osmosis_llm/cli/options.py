"""Our command line options, made from the one table of settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from dbt_osmosis_llm.config import OPTIONS, Option

_PREFIX = "llm_"
_HEADING = "Options of dbt-osmosis-llm, for --synthesize"

Function = TypeVar("Function", bound=Callable[..., Any])


def _nearest_project() -> str:
    """Return the folder of the nearest dbt_project.yml upwards, as the host's commands do."""
    here = Path.cwd()
    folders = (folder for folder in (here, *here.parents) if (folder / "dbt_project.yml").exists())
    return str(next(folders, here))


project_dir_option = click.option(
    "--project-dir",
    type=click.Path(exists=True, file_okay=False),
    default=_nearest_project,
    show_default="the nearest folder upwards that has one",
    help="Where dbt_project.yml lies.",
)


def add_options(command: click.Command) -> None:
    """Give a command of dbt-osmosis's an option for each setting that has a flag.

    Its ``--help`` shows them below its own options, under a heading of their own.
    """
    ours = [_click_option(option, option.flag) for option in OPTIONS if option.flag]
    command.params.extend(ours)
    format_options = command.format_options

    @functools.wraps(format_options)
    def format_apart(context: click.Context, formatter: click.HelpFormatter) -> None:
        # However the host writes its list, it sees its own options alone.
        params = command.params
        command.params = [param for param in params if param not in ours]
        try:
            format_options(context, formatter)
        finally:
            command.params = params
        with formatter.section(_HEADING):
            formatter.write_dl([row for param in ours if (row := param.get_help_record(context))])

    # click has no hook for sections, and the command is the host's: a method of this one object is
    # replaced, which mypy allows nowhere.
    command.format_options = format_apart  # type: ignore[assignment, method-assign]


def _click_option(option: Option, flag: str) -> click.Option:
    notes = [f"env: {option.env}"] if option.env else []
    if option.default is not None and not option.is_switch:
        shown = f"{option.default:g}" if isinstance(option.default, float) else option.default
        notes.append(f"default: {shown}")
    help_text = f"{option.help}  [{'; '.join(notes)}]" if notes else option.help
    if option.is_switch:
        return click.Option([flag, _PREFIX + option.name], is_flag=True, help=help_text)
    # No type: one parser reads a setting, wherever it was set, and words the error.
    return click.Option([flag, _PREFIX + option.name], metavar=option.metavar, help=help_text)


def setting_options(*names: str) -> Callable[[Function], Function]:
    """Return a decorator that gives a command of ours the flags of some settings."""

    def decorate(function: Function) -> Function:
        for option in OPTIONS:
            if option.name in names and option.flag:
                parameter = _click_option(option, option.flag)
                # Where click's own decorators leave options for the command that is made later.
                function.__dict__.setdefault("__click_params__", []).append(parameter)
        return function

    return decorate


def take_flags(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take our values out of a callback's arguments.

    Returns:
        Flag, e.g. ``--llm-stats``, to value; only those given on the command line.
    """
    flags = {}
    for option in OPTIONS:
        value = kwargs.pop(_PREFIX + option.name, None)
        if option.flag and value not in (None, False):
            flags[option.flag] = value
    return flags


def by_name(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the values by the names of `Settings`."""
    return {option.name: flags[option.flag] for option in OPTIONS if option.flag in flags}


def typed_selection(params: Mapping[str, Any]) -> list[str]:
    """Return what the command line selects, as it was typed."""
    chosen = params.get("models") or ()
    fqn = params.get("fqn") or ()
    names = (fqn,) if isinstance(fqn, str) else fqn
    return [*map(str, chosen), *(f"--fqn {name}" for name in names)]
