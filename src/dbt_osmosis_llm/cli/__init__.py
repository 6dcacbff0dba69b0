"""Extends dbt-osmosis's command line; click and rich live in this package alone.

This module runs on every dbt-osmosis command: it imports nothing heavy.
"""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

import click

from dbt_osmosis_llm._version import __version__
from dbt_osmosis_llm.cli.commands import llm
from dbt_osmosis_llm.cli.options import click_options, take_flags

FITS = "dbt-osmosis >=1.5,<2"
_COMMANDS = ("document", "refactor")
_TRANSFORM = "synthesize_missing_documentation_with_openai"
_MARK = "__dbt_osmosis_llm__"


def extend(host: ModuleType) -> None:
    """Give dbt-osmosis's ``yaml document`` and ``yaml refactor`` our synthesis and its options.

    All or nothing: when a place that we change is missing, the host stays as it is and one
    warning says which versions fit.

    Args:
        host: The loaded module ``dbt_osmosis.cli.main``.
    """
    if hasattr(host, _MARK):
        return
    missing = _missing_hooks(host)
    if missing:
        print(  # noqa: T201
            f"dbt-osmosis-llm {__version__} fits {FITS}; this version has no {missing}. "
            "dbt-osmosis runs without it.",
            file=sys.stderr,
        )
        return
    for name in _COMMANDS:
        _extend_command(getattr(host, name))
    host.cli.add_command(llm)
    setattr(host, _TRANSFORM, _synthesize_missing_documentation)
    setattr(host, _MARK, __version__)


def _missing_hooks(host: ModuleType) -> str:
    missing = [] if callable(getattr(host, _TRANSFORM, None)) else [f"function {_TRANSFORM}"]
    if not isinstance(getattr(host, "cli", None), click.Group):
        missing.append("command group cli")
    for name in _COMMANDS:
        command = getattr(host, name, None)
        params = {param.name for param in getattr(command, "params", ())}
        if not isinstance(command, click.Command) or command.callback is None:
            missing.append(f"command {name}")
        elif "synthesize" not in params:
            missing.append(f"option --synthesize of {name}")
    return ", ".join(missing)


def _extend_command(command: click.Command) -> None:
    host_callback = command.callback
    assert host_callback is not None  # noqa: S101  # seen by _missing_hooks

    @functools.wraps(host_callback)
    def callback(*args: Any, **kwargs: Any) -> Any:
        flags = take_flags(kwargs)
        if kwargs.get("synthesize"):
            # Loaded only now: other commands must not pay for it.
            from dbt_osmosis_llm.cli.session import run_with_synthesis

            return run_with_synthesis(host_callback, args, kwargs, flags)
        if flags:
            click.echo(f"{', '.join(flags)}: no effect without --synthesize.", err=True)
        return host_callback(*args, **kwargs)

    command.callback = callback
    command.params.extend(click_options())
    for param in command.params:
        if param.name == "synthesize" and isinstance(param, click.Option):
            param.help = (
                "Write missing documentation with a language model, from the SQL and its lineage."
            )


def _synthesize_missing_documentation(context: Any, node: Any = None) -> None:
    """Run our synthesis where dbt-osmosis's pipeline runs its own."""
    from dbt_osmosis_llm.cli.session import current_session

    current_session().synthesize(context)
