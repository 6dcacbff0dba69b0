"""Extends dbt-osmosis's command line; click and rich live in this package alone.

This module runs on every dbt-osmosis command: it imports nothing heavy.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import click

from dbt_osmosis_llm._version import __version__
from dbt_osmosis_llm.cli import host_client
from dbt_osmosis_llm.cli.commands import llm, test_llm
from dbt_osmosis_llm.cli.options import add_options, take_flags
from dbt_osmosis_llm.host import compat

_MARK = "__dbt_osmosis_llm__"


def extend(host: ModuleType) -> None:
    """Give dbt-osmosis's ``yaml document`` and ``yaml refactor`` our synthesis and its options.

    Its other commands that ask a model get our client, ``test-llm`` asks one in earnest, and the
    group ``llm`` is added.

    All or nothing: when a place that we change is missing, the host stays as it is and one
    warning says which versions fit.

    Args:
        host: The loaded module ``dbt_osmosis.cli.main``.
    """
    if hasattr(host, _MARK):
        return
    faults = [*_command_faults(host), *compat.check(host)]
    if faults:
        print(  # noqa: T201
            f"dbt-osmosis-llm {__version__} fits {compat.FITS}; this version {', '.join(faults)}. "
            "dbt-osmosis runs without it.",
            file=sys.stderr,
        )
        return
    compat.share_errors()
    for name in compat.COMMANDS:
        _extend_command(getattr(host, name))
    _extend_test_command(host.cli.commands[compat.TEST_COMMAND])
    host_client.extend_group(host.cli)
    host.cli.add_command(llm)
    setattr(host, compat.TRANSFORM, _synthesize_missing_documentation)
    setattr(host, _MARK, __version__)


def _command_faults(host: ModuleType) -> Iterator[str]:
    """Yield what the host's command line lacks of what we extend."""
    group = getattr(host, "cli", None)
    if not isinstance(group, click.Group):
        yield "has no command group cli"
    for name in compat.COMMANDS:
        command = getattr(host, name, None)
        if not isinstance(command, click.Command) or command.callback is None:
            yield f"has no command {name}"
        elif "synthesize" not in {param.name for param in command.params}:
            yield f"has no option --synthesize of {name}"
    if isinstance(group, click.Group):
        command = group.commands.get(compat.TEST_COMMAND)
        if command is None or command.callback is None:
            yield f"has no command {compat.TEST_COMMAND}"


def _extend_command(command: click.Command) -> None:
    host_callback = command.callback
    assert host_callback is not None  # noqa: S101  # seen by _command_faults

    @functools.wraps(host_callback)
    def callback(*args: Any, **kwargs: Any) -> Any:
        flags = take_flags(kwargs)
        if kwargs.get("synthesize"):
            # Loaded only now: other commands must not pay for it.
            from dbt_osmosis_llm.cli.session import run_with_synthesis

            return run_with_synthesis(host_callback, args, kwargs, flags)
        if flags:
            from dbt_osmosis_llm.cli.errors import UserError

            # dbt-osmosis alone would write, whatever --llm-dry-run says.
            raise UserError(f"{', '.join(flags)}: only with --synthesize. Nothing was done.")
        return host_callback(*args, **kwargs)

    command.callback = callback
    add_options(command)
    for param in command.params:
        if param.name == "synthesize" and isinstance(param, click.Option):
            param.help = (
                "Write missing documentation with a language model, from the SQL and its lineage."
            )


def _extend_test_command(command: click.Command) -> None:
    host_callback, our_callback = command.callback, test_llm.callback
    assert host_callback is not None  # noqa: S101  # a command of dbt-osmosis's
    assert our_callback is not None  # noqa: S101  # stands in our source

    @functools.wraps(host_callback)
    def callback(*args: Any, **kwargs: Any) -> Any:
        if host_client.is_in_place():
            return our_callback(*args, **kwargs)
        # Somebody has replaced dbt-osmosis's client: only its own command tests that one.
        return host_callback()  # which knows none of our options

    command.callback = callback
    command.params.extend(test_llm.params)
    command.help = test_llm.help


def _synthesize_missing_documentation(context: Any, node: Any = None) -> None:
    """Run our synthesis where dbt-osmosis's pipeline runs its own."""
    from dbt_osmosis_llm.cli.session import current_session

    current_session().synthesize(context)
