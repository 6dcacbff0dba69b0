"""How commands of ours load a project: dbt's own options, and stdout for the result alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any, TypeVar

import click

from dbt_osmosis_llm.cli.options import project_dir_option
from dbt_osmosis_llm.config import parse_variables

Function = TypeVar("Function", bound=Callable[..., Any])


def _variables(
    context: click.Context, option: click.Parameter, value: str | None
) -> Mapping[str, Any] | None:
    """Return the mapping given with ``--vars``."""
    variables = parse_variables(value)
    if value and value.strip() and variables is None:
        raise click.BadParameter(f"{value!r} is no YAML mapping; write it as '{{key: value}}'.")
    return variables


_OPTIONS = (
    project_dir_option,
    click.option(
        "--profiles-dir", type=click.Path(file_okay=False), help="Where profiles.yml lies."
    ),
    click.option("--profile", metavar="NAME", help="Which profile to use."),
    click.option("-t", "--target", metavar="NAME", help="Which target of the profile to use."),
    click.option(
        "--vars", "variables", callback=_variables, metavar="YAML", help="Variables of the project."
    ),
    click.option(
        "--log-level",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
        default="ERROR",
        show_default=True,
        help="What is logged to stderr.",
    ),
)


def project_options(function: Function) -> Function:
    """Give a command the options that `open_context` takes."""
    # Decorators work from the last to the first: so the help has the order of the list.
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr whatever is printed meanwhile.

    By its file descriptor: dbt's logger has taken hold of the stream when it was imported.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # closed: then nothing gets there anyway
            stdout_copy = os.dup(1)
            stack.callback(os.close, stdout_copy)
            os.dup2(2, 1)
            stack.callback(os.dup2, stdout_copy, 1)
        if sys.__stdout__ is not None:
            # Runs before the descriptor is put back: what waits in the buffer goes to stderr.
            stack.callback(sys.__stdout__.flush)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield
