"""One command on record: opens the project's ledger, puts the run in it, and closes it again."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.cli.errors import UserError
from dbt_osmosis_llm.config import Settings, project_name
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.ledger.database import LedgerConfigError, LedgerError
from dbt_osmosis_llm.ledger.parquet import ParquetLog
from dbt_osmosis_llm.ledger.places import ExportError
from dbt_osmosis_llm.ledger.records import Run, Text
from dbt_osmosis_llm.ledger.store import Ledger
from dbt_osmosis_llm.llm.client import LLMClient, LLMConfig

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
        run: What is known of it at its beginning.
        settings: Of the run.
        log: Gets each call as well.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        run: Run,
        settings: Settings,
        log: ParquetLog | None = None,
    ) -> None:
        self._ledger = ledger
        self._run = run
        self._settings = settings
        self._log = log
        self._clients: list[LedgerClient] = []

    @classmethod
    def begin(
        cls, settings: Settings, config: LLMConfig, project_dir: Path | str | None
    ) -> Recording:
        """Open the ledger and put the run in it.

        A ledger that cannot be opened is left out with one warning, unless it is required.

        Raises:
            UserError: It is required, or there is something for the user to change.
        """
        context = click.get_current_context(silent=True)
        run = Run(
            command=context.command_path if context else "",
            selection=_selection(context.params if context else {}),
            project=project_name(project_dir),
            git_commit=_git_commit(project_dir),
            versions=_versions(),
            config=config.to_metadata_dict(),
            settings=settings.to_metadata_dict(),
        )
        place = settings.ledger_place(project_dir)
        if place is None or (run.project is None and not settings.ledger_url):
            return cls(None, run, settings)  # not wanted, or no project to keep it in
        ledger = None
        try:
            ledger = Ledger.open(place)
            ledger.begin_run(run)
        except LedgerError as error:
            if settings.ledger_required or isinstance(error, LedgerConfigError):
                raise UserError(f"The ledger cannot be used: {error}.") from None
            logger.warning("The ledger cannot be used, the run goes on without it: %s", error)
            return cls(None, run, settings)
        return cls(ledger, run, settings, _parquet_log(settings, run))

    @staticmethod
    def look(
        inner: LLMClient, settings: Settings, config: LLMConfig, project_dir: Path | str
    ) -> LLMClient:
        """Return a client that answers what is on record and keeps nothing, for a plan."""
        place = settings.ledger_place(project_dir)
        if place is None:
            return inner
        try:
            ledger = Ledger.open(place, create=False)
        except LedgerError as error:
            logger.debug("What was answered before is not known: %s", error)
            return inner
        return LedgerClient(
            inner,
            ledger,
            None,
            config,
            use_answers=not settings.no_cache,
            max_age_days=settings.cache_days,
        )

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
            self._run.run_id,
            config,
            use_answers=use_answers and not self._settings.no_cache,
            max_age_days=self._settings.cache_days,
            required=self._settings.ledger_required,
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

    def end(self, outcome: str) -> str | None:
        """Note how the run ended, and close the ledger.

        Returns:
            What went wrong with the ledger or the Parquet log, where the user wants to stop for
            that.
        """
        if self._ledger is None:
            return None
        failed = next((f for c in self._clients if (f := c.required_failure)), None)
        problem = f"The ledger failed: {failed}." if failed else None
        for client in self._clients:
            client.close()
        with suppress(LedgerError):  # what matters was said when it happened
            self._ledger.end_run(self._run.run_id, outcome)
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
        raise UserError(f"OSMOSIS_LLM_PARQUET_DIR: {error}.") from None


def _selection(params: Mapping[str, Any]) -> list[str]:
    """Return what the command line selects, as it was typed."""
    chosen = params.get("models") or ()
    fqn = params.get("fqn") or ()
    names = (fqn,) if isinstance(fqn, str) else fqn
    return [*map(str, chosen), *(f"--fqn {name}" for name in names)]


def _git_commit(project_dir: Path | str | None) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            cwd=project_dir,
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=True,
        )
        return said.stdout.strip() or None
    return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
