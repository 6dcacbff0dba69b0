"""One run of ``--synthesize``: settings first, then dbt-osmosis, then what came of it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from dbt_osmosis_llm.cli.errors import UserError, user_errors
from dbt_osmosis_llm.cli.options import by_name, typed_selection
from dbt_osmosis_llm.cli.progress import Progress
from dbt_osmosis_llm.config import Settings, load_settings, parse_variables
from dbt_osmosis_llm.evidence.cache import FactsCache
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.messages import LLMClient
from dbt_osmosis_llm.run.options import engine_options, project_options, uses_answers
from dbt_osmosis_llm.run.recording import Recording
from dbt_osmosis_llm.stack import ClientStack, price_of
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.estimate import EstimatingClient
from dbt_osmosis_llm.synthesis.prompts import Prompts, load_prompts
from dbt_osmosis_llm.synthesis.report import RunReport

if TYPE_CHECKING:
    from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
    from dbt_osmosis_llm.host.project import HostProject
    from dbt_osmosis_llm.host.warehouse import Warehouse

_GRACE_S = 10.0
_INTERRUPTED = 130
_META_KEY = "dbt_osmosis_llm.session"
_OUTCOMES = {0: "done", 1: "failed", 2: "stopped", _INTERRUPTED: "interrupted"}
"""Exit code to what the ledger calls it."""


class Session:
    """The settings, the client and the outcome of one run; nothing of it outlasts the run."""

    def __init__(
        self,
        settings: Settings,
        prompts: Prompts,
        client: LLMClient,
        config: LLMConfig,
        stack: ClientStack,
    ) -> None:
        self.settings = settings
        self._config = config
        self.prompts = prompts
        self.client = client
        self.stats = stack.stats
        self.report: RunReport | None = None
        self.interrupted = False
        self.record_failure: str | None = None
        self.writing: MinimalWriting | None = None
        self.warehouse: Warehouse | None = None
        self._project: HostProject | None = None
        self._recording: Recording | None = None
        self._cleanup = ExitStack()

    @classmethod
    def prepare(cls, flags: dict[str, Any], kwargs: Mapping[str, Any]) -> Session:
        """Check all that can be checked before dbt is loaded or a file is touched.

        Raises:
            UserError: A setting, key, prompt file or SDK is wrong or missing.
        """
        stack = ClientStack()
        with user_errors():
            settings = load_settings(
                by_name(flags), kwargs.get("project_dir"), parse_variables(kwargs.get("vars"))
            )
            prompts = load_prompts(settings.prompt_file, settings.prompt_overrides)
            config = LLMConfig.from_env(settings, needs_key=not settings.plan_only)
            client: LLMClient
            if settings.plan_only:
                client = EstimatingClient(config.provider, config.model, price_of(config))
            else:
                client = stack.build(config)
        return cls(settings, prompts, client, config, stack)

    def synthesize(self, context: Any) -> None:
        """Fill what the context's nodes lack; dbt-osmosis writes it afterwards.

        Raises:
            UserError: A text has no file to go to, or the ledger cannot be used.
        """
        from dbt_osmosis_llm.host.project import HostProject

        project_dir = context.project.config.project_dir
        root = context.project.runtime_cfg.project_root
        cache_path = self.settings.lineage_place(project_dir)
        # A plan leaves nothing behind.
        is_plan = self.settings.plan_only
        cache = FactsCache(cache_path, read_only=is_plan) if cache_path else None
        if cache:
            self._cleanup.callback(cache.close)
        with user_errors():
            project = self._project = HostProject(
                context,
                **project_options(root, self.settings, self._config, self.prompts),
                read_query=cache.facts if cache else read_query,
                writing=self.writing,
            )
            project.begin(self.settings.refresh)
            self._recording = self._recorded(project_dir)
        progress = Progress()
        engine = Engine(
            self._recording.client(
                self.client,
                self._config,
                use_answers=uses_answers(self.settings, self._config),
            ),
            self.prompts,
            concurrency=self._config.max_in_flight,
            **engine_options(self.settings, self._config),
            observer=progress.update,
            # With --dry-run no answer becomes a text in a file.
            recorder=None if context.settings.dry_run else self._recording.texts,
        )
        self._handle_signals(engine)
        try:
            with progress:
                self.report = engine.run(project)
        finally:
            project.end(docs_blocks=self.settings.docs_blocks)

    def _recorded(self, project_dir: str) -> Recording:
        if self.settings.plan_only:
            return Recording.look(self.settings, project_dir, stats=self.stats)
        command = click.get_current_context()
        return Recording.begin(
            self.settings,
            self._config,
            project_dir,
            stats=self.stats,
            command=command.command_path,
            selection=typed_selection(command.params),
        )

    def _handle_signals(self, engine: Engine) -> None:
        """Let Ctrl-C and SIGTERM end the run in order; a second one ends it at once."""
        # Python lets the main thread alone set handlers.
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(signum: int, frame: FrameType | None) -> None:
            if self.interrupted:
                os._exit(_INTERRUPTED)  # files are replaced whole: there is nothing to clean up
            self.interrupted = True
            click.echo(
                f"Stopping: no new requests, waiting up to {_GRACE_S:.0f} s for answers in "
                "flight; once more to leave at once.",
                err=True,
            )
            engine.interrupt(_GRACE_S)

        for number in (signal.SIGINT, signal.SIGTERM):
            # `signal` returns the handler that was there, which comes back at the end.
            self._cleanup.callback(signal.signal, number, signal.signal(number, stop))

    def during(self, *contexts: AbstractContextManager[None]) -> None:
        """Keep contexts open until the session is closed."""
        for context in contexts:
            self._cleanup.enter_context(context)

    def close(self) -> None:
        """Give back what the run has changed of the process."""
        self._cleanup.close()

    def check_written(self) -> None:
        """Find the texts that dbt-osmosis could not write."""
        if self.report is None or self._project is None:
            return
        project = self._project
        if not self.settings.plan_only:
            self.report.not_written = project.files.not_written(self.report.node_ids_with_texts)
        project.say_what_is_left_out(self.report)
        self.report.no_warehouse = self.warehouse.failure if self.warehouse else ""

    def end_recording(self) -> None:
        """Note how the run ended."""
        if self._recording is not None:
            outcome = "failed" if self.report is None else _OUTCOMES[self.exit_code]
            self.record_failure = self._recording.end(outcome)

    @property
    def exit_code(self) -> int:
        """Return 0 when all was answered, 1 when nodes failed, 2 when the run had to stop."""
        if self.interrupted:
            return _INTERRUPTED
        if self.report is None:
            return 0
        if self.report.stopped_by or self.record_failure:
            return 2
        return int(self.report.has_failures)


def current_session() -> Session:
    """Return the session of the command that runs."""
    session: Session = click.get_current_context().meta[_META_KEY]
    return session


def run_with_synthesis(
    host_callback: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    flags: dict[str, Any],
) -> None:
    """Run dbt-osmosis's command with our synthesis in it and say what came of it.

    Raises:
        UserError: The run could not start.
        SystemExit: With the run's exit code, or the host's own.
    """
    session = Session.prepare(flags, kwargs)
    # In click's context, not in the module: a second command of the process has its own.
    click.get_current_context().meta[_META_KEY] = session
    if session.settings.plan_only:
        kwargs["dry_run"] = True  # dbt-osmosis writes nothing then
    elif kwargs.get("dry_run"):
        click.echo(
            "--dry-run with --synthesize asks the model, which may cost money, and writes nothing.",
            err=True,
        )
    try:
        host_exit = _run_host(session, host_callback, args, kwargs)
    finally:
        try:
            if session.report is not None:
                session.check_written()
        finally:  # whatever the last look at the project comes to
            try:
                session.end_recording()
                _print_outcome(session)
            finally:
                session.close()
    if session.record_failure:
        click.echo(f"Error: {session.record_failure}", err=True)
    if session.interrupted:
        # All is written and closed. Threads that still wait for answers would keep a regular exit
        # waiting, and have DuckDB complain of what they hold.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # closed: nobody listens any more
                stream.flush()
        os._exit(_INTERRUPTED)
    if code := session.exit_code or host_exit:
        raise SystemExit(code)


def _run_host(
    session: Session,
    host_callback: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run dbt-osmosis's command with minimal changes to YAML files; return its exit code."""
    # Here, and not above: it loads dbt.
    from dbt_osmosis_llm.host.compat import without_false_circles
    from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
    from dbt_osmosis_llm.host.passes import seeing_what_is_written
    from dbt_osmosis_llm.host.warehouse import CLOSED, Warehouse

    session.writing = MinimalWriting()
    session.warehouse = Warehouse(CLOSED if kwargs.get("disable_introspection") else "")
    # Until the end of ours: what is said of the run afterwards may ask for columns, too.
    session.during(session.warehouse.in_place(), without_false_circles())
    for name in ("project_dir", "profiles_dir"):
        # dbt-osmosis puts a relative one before paths that begin with it already.
        if kwargs.get(name):
            kwargs[name] = os.path.abspath(kwargs[name])
    try:
        with session.writing.in_place(), seeing_what_is_written(session.writing):
            host_callback(*args, **kwargs)
    except SystemExit as stop:
        return stop.code  # what came of our run is said before the command ends so
    except UnicodeDecodeError as error:
        # Once our run has begun, dbt has read all its files: it is another fault.
        if session.report is not None:
            raise
        from dbt_osmosis_llm.host.context import decoding_failure

        raise UserError(decoding_failure(kwargs.get("project_dir") or ".", error)) from None
    except Exception as error:
        if session.report is not None or not session.warehouse.stopped(error):
            raise
        raise UserError(
            f"The warehouse cannot be reached ({session.warehouse.failure.rstrip('.')}), and "
            "dbt-osmosis looks there for the tables of sources. Mend the connection, or go on "
            "without it: --disable-introspection."
        ) from None
    return 0


def _print_outcome(session: Session) -> None:
    if session.report is None:
        return
    from dbt_osmosis_llm.cli.summary import print_plan, print_summary

    if isinstance(session.client, EstimatingClient):
        print_plan(session.report, session.client, session.stats)
    else:
        print_summary(
            session.report,
            session.client,
            session.settings,
            session.stats,
            interrupted=session.interrupted,
        )
