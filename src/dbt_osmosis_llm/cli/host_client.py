"""Our client under dbt-osmosis's own commands, for as long as one of them runs.

No longer than that: who imports dbt-osmosis as a library gets what it promises, its own tests
among them. What somebody else has put in the function's place stays there.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dbt_osmosis_llm.cli.recording import Recording
    from dbt_osmosis_llm.config import Settings
    from dbt_osmosis_llm.llm.client import LLMClient, LLMConfig

_FUNCTION = "get_llm_client"
_MODULES = ("dbt_osmosis.core.llm", "dbt_osmosis.core.test_suggestions")
"""Where dbt-osmosis looks the function up; all its calls of a model begin there."""


class HostClient:
    """Stands for dbt-osmosis's ``get_llm_client`` during one command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[Any, str] | None = None
        self._settings: Settings | None = None
        self._recording: Recording | None = None
        self.is_used = False

    def __call__(self) -> tuple[Any, str]:
        """Return a client and the model to ask, by the settings of the command's project.

        Raises:
            LLMConfigError: A setting, key or SDK is wrong or missing.
        """
        # Loaded only now: most commands ask no model.
        from dbt_osmosis_llm import facade
        from dbt_osmosis_llm.cli.recording import Recording
        from dbt_osmosis_llm.llm.client import LLMConfig

        with self._lock:
            self.is_used = True
            if self._made is None:
                self._settings, project_dir = _command_settings()
                config = LLMConfig.from_env(self._settings)
                self._recording = Recording.begin(self._settings, config, project_dir)
                self._made = facade.chat_client(config, self._recorded)
            return self._made

    def _recorded(self, client: LLMClient, config: LLMConfig) -> LLMClient:
        if self._recording is None:
            return client
        # Put on record, but asked each time: dbt-osmosis alone knows whether an answer was of use.
        return self._recording.client(client, config, use_answers=False)

    def end_recording(self, outcome: str) -> None:
        """Note how the command ended."""
        if self._recording is not None:
            self._recording.end(outcome)

    def print_usage(self) -> None:
        """Say what was used, if the user wants statistics."""
        if self._settings is None or not self._settings.show_stats:
            return
        from dbt_osmosis_llm.cli.summary import money
        from dbt_osmosis_llm.llm.usage import get_usage_stats

        totals = get_usage_stats().summary()
        click.echo(
            f"dbt-osmosis-llm: {totals['requests']} request{'' if totals['requests'] == 1 else 's'}"
            f", {totals['input_tokens']:,} prompt tokens, {totals['output_tokens']:,} completion "
            f"tokens, cost {money(totals['cost_usd'])}.",
            err=True,
        )


def _command_settings() -> tuple[Settings, str | None]:
    from dbt_osmosis_llm.cli.session import cli_vars
    from dbt_osmosis_llm.config import SettingsError, load_settings
    from dbt_osmosis_llm.llm.exceptions import LLMConfigError

    context = click.get_current_context(silent=True)
    params: Mapping[str, Any] = context.params if context else {}
    try:
        project_dir = params.get("project_dir")
        return load_settings(None, project_dir, cli_vars(params.get("vars"))), project_dir
    except SettingsError as error:
        raise LLMConfigError(str(error)) from None


def missing_functions() -> list[str]:
    """Return the functions that dbt-osmosis should have and has not, by their full names."""
    return [
        f"function {name}.{_FUNCTION}"
        for name in _MODULES
        if not callable(getattr(sys.modules.get(name), _FUNCTION, None))
    ]


def is_in_place() -> bool:
    """Tell whether dbt-osmosis gets its client from us now."""
    return isinstance(getattr(sys.modules[_MODULES[0]], _FUNCTION), HostClient)


def extend_group(group: click.Group) -> None:
    """Make every command of a group get its client from us while it runs."""
    originals = {name: getattr(sys.modules[name], _FUNCTION) for name in _MODULES}
    run = group.invoke

    @functools.wraps(run)
    def invoke(context: click.Context) -> Any:
        client = HostClient()
        with _in_place(client, originals), _one_line_errors(client):
            return run(context)

    setattr(group, "invoke", invoke)  # noqa: B010  # an attribute, for mypy, not a method


@contextmanager
def _in_place(client: HostClient, originals: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    modules = {name: sys.modules[name] for name in originals}
    for name, original in originals.items():
        if getattr(modules[name], _FUNCTION) is original:
            setattr(modules[name], _FUNCTION, client)
    try:
        yield
    finally:
        for name, original in originals.items():
            if getattr(modules[name], _FUNCTION) is client:
                setattr(modules[name], _FUNCTION, original)


@contextmanager
def _one_line_errors(client: HostClient) -> Iterator[None]:
    """Turn an error of ours, which dbt-osmosis lets through, into one line and exit code 2."""
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except Exception as error:
        if client.is_used:
            from dbt_osmosis_llm.cli.errors import UserError
            from dbt_osmosis_llm.llm.exceptions import LLMError

            if isinstance(error, LLMError):
                raise UserError(str(error)) from None
        raise
    finally:
        client.end_recording(outcome)
        client.print_usage()
