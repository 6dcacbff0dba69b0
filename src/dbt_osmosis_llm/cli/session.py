"""One run of ``--synthesize``: settings first, then dbt-osmosis, then what came of it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from dbt_osmosis_llm.cli.errors import UserError, user_errors
from dbt_osmosis_llm.cli.options import by_name
from dbt_osmosis_llm.cli.progress import Progress
from dbt_osmosis_llm.cli.recording import Recording
from dbt_osmosis_llm.config import Settings, load_settings
from dbt_osmosis_llm.evidence.cache import FactsCache
from dbt_osmosis_llm.evidence.fingerprint import hash_of
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.ledger.records import Text
from dbt_osmosis_llm.llm.client import LLMClient, LLMConfig, build_client, price_of
from dbt_osmosis_llm.llm.prompts import Prompts, dump_prompts, load_prompts
from dbt_osmosis_llm.llm.usage import get_usage_stats
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.estimate import EstimatingClient
from dbt_osmosis_llm.synthesis.lock import LOCK_NAME, LockFile
from dbt_osmosis_llm.synthesis.report import RunReport

if TYPE_CHECKING:
    from dbt_osmosis_llm.writing.hook import MinimalWriting

_GRACE_S = 10.0
_INTERRUPTED = 130
_META_KEY = "dbt_osmosis_llm.session"


class Session:
    """The settings, the client and the outcome of one run."""

    def __init__(
        self, settings: Settings, prompts: Prompts, client: LLMClient, config: LLMConfig
    ) -> None:
        self.settings = settings
        self._config = config
        self.prompts = prompts
        self.client = client
        self.report: RunReport | None = None
        self.interrupted = False
        self.record_failure: str | None = None
        self.files: MinimalWriting | None = None
        self._recording: Recording | None = None

    @classmethod
    def prepare(cls, flags: dict[str, Any], kwargs: Mapping[str, Any]) -> Session:
        """Check all that can be checked before dbt is loaded or a file is touched.

        Raises:
            UserError: A setting, key, prompt file or SDK is wrong or missing.
        """
        with user_errors():
            settings = load_settings(
                by_name(flags), kwargs.get("project_dir"), cli_vars(kwargs.get("vars"))
            )
            prompts = load_prompts(settings.prompt_file, settings.prompt_overrides)
            config = LLMConfig.from_env(settings, needs_key=not settings.plan_only)
            client: LLMClient
            if settings.plan_only:
                client = EstimatingClient(config.provider, config.model, price_of(config))
            else:
                client = build_client(config)
        return cls(settings, prompts, client, config)

    def synthesize(self, context: Any) -> None:
        """Fill what the context's nodes lack; dbt-osmosis writes it afterwards."""
        from dbt_osmosis_llm.host.project import HostProject

        project_dir = context.project.config.project_dir
        kept = self.settings.lineage_place(project_dir)
        cache = FactsCache(kept) if kept and not self.settings.plan_only else None
        with user_errors():
            self._project = HostProject(
                context,
                **project_options(context, self.settings, self._config, self.prompts),
                read_query=cache.facts if cache else read_query,
                files=self.files,
            )
            self._project.begin(self.settings.refresh)
            self._project.check_targets()
        progress = Progress()
        engine = Engine(
            self._recorded_client(project_dir),
            self.prompts,
            concurrency=self._config.max_in_flight,
            **engine_options(self.settings, self._config),
            observer=progress.update,
            recorder=None if context.settings.dry_run else self._record_texts,
        )
        self._handle_signals(engine)
        try:
            with progress:
                self.report = engine.run(self._project)
        finally:
            self._project.end(docs_blocks=self.settings.docs_blocks)
            if cache:
                cache.close()

    def _record_texts(self, texts: list[Text]) -> None:
        if self._recording is not None:
            self._recording.texts(texts)

    def _recorded_client(self, project_dir: str) -> LLMClient:
        if self.settings.plan_only:
            return Recording.look(self.client, self.settings, self._config, project_dir)
        self._recording = Recording.begin(self.settings, self._config, project_dir)
        use_answers = _uses_answers(self.settings, self._config)
        return self._recording.client(self.client, self._config, use_answers=use_answers)

    def _handle_signals(self, engine: Engine) -> None:
        """Let Ctrl-C and SIGTERM end the run in order; a second one ends it at once."""
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

        for name in ("SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, name), stop)

    def check_written(self) -> None:
        """Find the texts that dbt-osmosis could not write."""
        if self.report is None:
            return
        if not self.settings.plan_only:
            self.report.not_written = self._project.not_written(self.report.node_ids_with_texts)
        self.report.left_alone = self._project.left_alone()

    def end_recording(self) -> None:
        """Note how the run ended."""
        if self._recording is not None:
            outcomes = {0: "done", 1: "failed", 2: "stopped", _INTERRUPTED: "interrupted"}
            outcome = "failed" if self.report is None else outcomes[self.exit_code]
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


def engine_options(settings: Settings, config: LLMConfig) -> dict[str, Any]:
    """Return the arguments of `Engine` that decide what is asked and how."""
    return {
        "max_sql_chars": settings.max_sql_chars,
        "max_prompt_tokens": settings.max_prompt_tokens,
        "copies": not settings.no_copy,
        "strict": settings.strict,
        "redact_pii": settings.redact_pii,
        # Asked when there is something to ask: the list of models takes half a second to load.
        "context_window": lambda: settings.context_window or price_of(config).context_window(),
    }


def project_options(
    context: Any, settings: Settings, config: LLMConfig, prompts: Prompts
) -> dict[str, Any]:
    """Return the arguments of `HostProject` that decide what is asked and whose a text is."""
    text = StringIO()
    dump_prompts(prompts, text)
    return {
        "sample": settings.sample,
        "lock": LockFile(Path(context.project.runtime_cfg.project_root, LOCK_NAME)),
        "model": config.model,
        "prompts": hash_of(text.getvalue()),
        "use_answers": _uses_answers(settings, config),
    }


def _uses_answers(settings: Settings, config: LLMConfig) -> bool:
    """Tell whether what was asked before is not asked again."""
    # The offline provider costs nothing and gets better with each version.
    return config.provider != "offline" and not settings.no_cache


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
    click.get_current_context().meta[_META_KEY] = session
    if session.settings.plan_only:
        kwargs["dry_run"] = True  # dbt-osmosis writes nothing then
    elif kwargs.get("dry_run"):
        click.echo(
            "--dry-run with --synthesize asks the model, which may cost money, and writes nothing.",
            err=True,
        )
    # Here, and not above: it loads dbt.
    from dbt_osmosis_llm.writing.hook import MinimalWriting

    session.files = MinimalWriting()
    host_exit: Any = 0
    try:
        with session.files.in_place():
            host_callback(*args, **kwargs)
    except SystemExit as stop:
        host_exit = stop.code
    except UnicodeDecodeError as error:
        if session.report is not None:
            raise
        from dbt_osmosis_llm.host.context import decoding_failure

        raise UserError(decoding_failure(kwargs.get("project_dir") or ".", error)) from None
    finally:
        if session.report is not None:
            session.check_written()
        session.end_recording()
        if session.report is not None:
            from dbt_osmosis_llm.cli.summary import print_plan, print_summary

            if isinstance(session.client, EstimatingClient):
                print_plan(session.report, session.client, get_usage_stats())
            else:
                print_summary(
                    session.report,
                    session.client,
                    session.settings,
                    get_usage_stats(),
                    interrupted=session.interrupted,
                )
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


def cli_vars(text: str | None) -> Mapping[str, Any] | None:
    """Return the mapping given with ``--vars``; dbt-osmosis itself reports one it cannot read."""
    if not text:
        return None
    import ruamel.yaml

    try:
        variables = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except ruamel.yaml.YAMLError:
        return None
    return variables if isinstance(variables, Mapping) else None
