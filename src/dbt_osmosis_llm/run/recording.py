"""One command on record: opens the project's ledger, puts the run in it, and closes it again."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.config import Settings, project_name
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.ledger.database import LedgerConfigError, LedgerError
from dbt_osmosis_llm.ledger.parquet import ParquetLog
from dbt_osmosis_llm.ledger.places import ExportError
from dbt_osmosis_llm.ledger.records import Run, Text
from dbt_osmosis_llm.ledger.store import Ledger
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.messages import LLMClient
from dbt_osmosis_llm.llm.usage import LLMUsageStats

_DISTRIBUTIONS = (
    "dbt-osmosis-llm",
    "dbt-osmosis",
    "dbt-core",
    "sqlglot",
    "openai",
    "anthropic",
    "google-genai",
)
_GIT_S = 5.0


class Recording:
    """A run on record; without a ledger one that keeps nothing.

    Args:
        ledger: Where it is kept; None: nowhere.
        run: What is known of it at its beginning; None for one that only looks.
        settings: Of the run.
        stats: Where answers on record are counted; the process's statistics when None.
        log: Gets each call as well.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        run: Run | None,
        settings: Settings,
        stats: LLMUsageStats | None = None,
        log: ParquetLog | None = None,
    ) -> None:
        self._ledger = ledger
        self._run_id = None if run is None else run.run_id
        self._settings = settings
        self._stats = stats
        self._log = log
        self._clients: list[LedgerClient] = []

    @classmethod
    def begin(
        cls,
        settings: Settings,
        config: LLMConfig,
        project_dir: Path | str | None,
        *,
        stats: LLMUsageStats | None = None,
        command: str = "",
        selection: Sequence[str] = (),
    ) -> Recording:
        """Open the ledger and put the run in it.

        A ledger that cannot be opened is left out with one warning, unless it is required.

        Args:
            settings: Of the run.
            config: Whom it asks.
            project_dir: Where its ledger lies.
            stats: Where answers on record are counted; the process's statistics when None.
            command: As it was typed, without its options.
            selection: What it was to document, as it was typed.

        Raises:
            LLMConfigError: It is required, or there is something for the user to change.
        """
        run = Run(
            command=command,
            selection=selection,
            project=project_name(project_dir),
            git_commit=_git_commit(project_dir),
            versions=_versions(),
            config=config.to_metadata_dict(),
            settings=settings.to_metadata_dict(),
        )
        place = settings.ledger_place(project_dir)
        if place is None or (run.project is None and not settings.ledger_url):
            return cls(None, run, settings)  # not wanted, or no project to keep it in
        try:
            ledger = Ledger.open(place)
        except LedgerError as error:
            return cls._without_ledger(run, settings, error)
        log = None
        try:
            # Before the run is on record: one that cannot begin would stay there as running.
            log = _parquet_log(settings, run)
            ledger.begin_run(run)
        except (LedgerError, LLMConfigError) as error:
            ledger.close()
            if log is not None:
                log.close()
            if isinstance(error, LLMConfigError):
                raise
            return cls._without_ledger(run, settings, error)
        return cls(ledger, run, settings, stats, log)

    @classmethod
    def _without_ledger(cls, run: Run, settings: Settings, error: LedgerError) -> Recording:
        if settings.ledger_required or isinstance(error, LedgerConfigError):
            raise LLMConfigError(f"The ledger cannot be used: {error}.") from None
        logger.warning("The ledger cannot be used, the run goes on without it: %s", error)
        return cls(None, run, settings)

    @classmethod
    def look(
        cls,
        settings: Settings,
        project_dir: Path | str,
        *,
        stats: LLMUsageStats | None = None,
    ) -> Recording:
        """Open the ledger for answers on record alone: nothing is kept, as a plan wants it.

        Args:
            settings: Of the run that is looked at.
            project_dir: Where its ledger lies.
            stats: Where answers on record are counted; the process's statistics when None.
        """
        ledger = None
        if (place := settings.ledger_place(project_dir)) is not None:
            try:
                ledger = Ledger.open(place, create=False)
            except LedgerError as error:
                logger.debug("What was answered before is not known: %s", error)
        return cls(ledger, None, settings, stats)

    def client(self, inner: LLMClient, config: LLMConfig, *, use_answers: bool) -> LLMClient:
        """Return a client that keeps what is asked through it.

        Args:
            inner: Whom to ask.
            config: What the requests are sent with.
            use_answers: Whether an answer on record is as good as a new one.
        """
        if self._ledger is None:
            return inner
        client = LedgerClient(
            inner,
            self._ledger,
            self._run_id,
            config,
            use_answers=use_answers and not self._settings.no_cache,
            max_age_days=self._settings.cache_days,
            required=self._settings.ledger_required,
            stats=self._stats,
            observer=self._log.add if self._log else None,
            before=self._log.check if self._log else None,
        )
        self._clients.append(client)
        return client

    def texts(self, texts: list[Text]) -> None:
        """Note what answers became; the answers themselves are on record already."""
        if self._ledger is not None:
            try:
                self._ledger.record_texts(texts)
            except LedgerError as error:
                logger.debug("The texts are not on record: %s", error)

    def end(self, outcome: str = "") -> str | None:
        """Note how the run ended, and close the ledger.

        Returns:
            What went wrong with the ledger or the Parquet log, where the user wants to stop for
            that.
        """
        if self._ledger is None:
            return None
        failure = next((f for c in self._clients if (f := c.required_failure)), None)
        problem = f"The ledger failed: {failure}." if failure else None
        # Before the ledger, in which they give back what they have claimed.
        for client in self._clients:
            client.close()
        if self._run_id is not None:
            with suppress(LedgerError):  # what matters was said when it happened
                self._ledger.end_run(self._run_id, outcome)
        self._ledger.close()
        if self._log is not None:
            try:
                self._log.close()
            except ExportError as error:
                problem = problem or str(error)
        return problem


def _parquet_log(settings: Settings, run: Run) -> ParquetLog | None:
    if settings.parquet_dir is None:
        return None
    try:
        return ParquetLog(
            settings.parquet_dir,
            run,
            buffer_rows=settings.parquet_buffer_rows,
            on_failure="error" if settings.s3_on_failure == "error" else "continue",
        )
    except ExportError as error:
        raise LLMConfigError(f"OSMOSIS_LLM_PARQUET_DIR: {error}.") from None


def _git_commit(project_dir: Path | str | None) -> str | None:
    # No git, no repository, no commit yet: the run goes on record without one.
    with suppress(OSError, subprocess.SubprocessError):
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            cwd=project_dir,
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=True,
        )
        return process.stdout.strip() or None
    return None


def _versions() -> dict[str, str]:
    versions = {}
    for name in _DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
