"""Our client under dbt-osmosis's own commands, for as long as one of them runs.

No longer than that: who imports dbt-osmosis as a library gets what it promises, its own tests
among them. What somebody else has put in the function's place stays there.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from dbt_osmosis_llm.host import compat

if TYPE_CHECKING:
    from dbt_osmosis_llm.config import Settings
    from dbt_osmosis_llm.llm.configuration import LLMConfig
    from dbt_osmosis_llm.llm.messages import LLMClient
    from dbt_osmosis_llm.llm.usage import LLMUsageStats
    from dbt_osmosis_llm.run.recording import Recording


class HostClient:
    """Stands for dbt-osmosis's ``get_llm_client`` during one command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client_and_model: tuple[Any, str] | None = None
        self._settings: Settings | None = None
        self._stats: LLMUsageStats | None = None
        self._recording: Recording | None = None
        self.is_used = False

    def __call__(self) -> tuple[Any, str]:
        """Return a client and the model to ask, by the settings of the command's project.

        Raises:
            LLMConfigError: A setting, key or SDK is wrong or missing.
        """
        # Loaded only now: most commands ask no model.
        from dbt_osmosis_llm import facade
        from dbt_osmosis_llm.cli.options import typed_selection
        from dbt_osmosis_llm.llm.configuration import LLMConfig
        from dbt_osmosis_llm.run.recording import Recording
        from dbt_osmosis_llm.stack import ClientStack

        with self._lock:
            self.is_used = True
            if self._client_and_model is None:
                self._settings, project_dir = _command_settings()
                config = LLMConfig.from_env(self._settings)
                stack = ClientStack()
                self._stats = stack.stats
                command = click.get_current_context(silent=True)
                self._recording = Recording.begin(
                    self._settings,
                    config,
                    project_dir,
                    stats=stack.stats,
                    command=command.command_path if command else "",
                    selection=typed_selection(command.params if command else {}),
                )
                self._client_and_model = facade.chat_client(config, self._recorded, stack=stack)
            return self._client_and_model

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
        if self._settings is None or self._stats is None or not self._settings.show_stats:
            return
        from dbt_osmosis_llm.cli.summary import money

        totals = self._stats.summary()
        click.echo(
            f"dbt-osmosis-llm: {totals['requests']} request{'' if totals['requests'] == 1 else 's'}"
            f", {totals['input_tokens']:,} prompt tokens, {totals['output_tokens']:,} completion "
            f"tokens, cost {money(totals['cost_usd'])}.",
            err=True,
        )


def _command_settings() -> tuple[Settings, str | None]:
    from dbt_osmosis_llm.config import SettingsError, load_settings, parse_variables
    from dbt_osmosis_llm.llm.exceptions import LLMConfigError

    context = click.get_current_context(silent=True)
    params: Mapping[str, Any] = context.params if context else {}
    try:
        project_dir = params.get("project_dir")
        return load_settings(None, project_dir, parse_variables(params.get("vars"))), project_dir
    except SettingsError as error:
        raise LLMConfigError(str(error)) from None


def is_in_place() -> bool:
    """Tell whether dbt-osmosis gets its client from us now."""
    return isinstance(compat.CLIENT_HOOKS[0].find(), HostClient)


def extend_group(group: click.Group) -> None:
    """Make every command of a group get its client from us while it runs."""
    originals = {hook: hook.find() for hook in compat.CLIENT_HOOKS}
    run = group.invoke

    @functools.wraps(run)
    def invoke(context: click.Context) -> Any:
        client = HostClient()
        with _in_place(client, originals), _one_line_errors(client):
            return run(context)

    setattr(group, "invoke", invoke)  # noqa: B010  # an attribute, for mypy, not a method


@contextmanager
def _in_place(
    client: HostClient, originals: Mapping[compat.HostHook, Callable[..., Any]]
) -> Iterator[None]:
    for hook, original in originals.items():
        if hook.find() is original:
            hook.put(client)
    try:
        yield
    finally:
        for hook, original in originals.items():
            # What somebody has put there meanwhile stays.
            if hook.find() is client:
                hook.put(original)


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
