"""The commands of the group ``llm`` that read and tend the ledger.

Every dbt-osmosis command imports this module: what a command needs is loaded in it. Data goes to
stdout, whatever is said about it to stderr.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dbt_osmosis_llm.cli.options import project_dir_option

if TYPE_CHECKING:
    from dbt_osmosis_llm.ledger.records import Call, Run
    from dbt_osmosis_llm.ledger.store import Ledger

_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}
# A hundred years: much more leads out of what a datetime holds.
_MAX_DAYS = 36_500.0
_CALLS_SHOWN = 50
_RUNS_SHOWN = 20

Record = TypeVar("Record")


def _age(context: click.Context, option: click.Parameter, value: str) -> float:
    """Return the days of ``12h``, ``90d`` or ``8w``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", value.strip().lower())
    days = float(match[1]) * _DAYS[match[2]] if match else _MAX_DAYS + 1
    if days > _MAX_DAYS:
        raise click.BadParameter(f"{value!r} is no age; write it as 12h, 90d or 8w.")
    return days


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> datetime | None:
    """Return the moment of an age, or of a date and time, which is local without a zone."""
    if value is None:
        return None
    text = value.strip()
    # More than is an age, so that what nearly is one gets the message about ages.
    if re.fullmatch(r"[\d.]+[a-zA-Z]", text):
        return datetime.now(timezone.utc) - timedelta(days=_age(context, option, text))
    try:
        # Python 3.10 does not know Z.
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text)).astimezone()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{value!r} is no moment; write it as 2026-03-31, 2026-03-31T18:00 or 7d."
        ) from None


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; times are UTC.")
since_option = click.option(
    "--since",
    callback=_moment,
    metavar="MOMENT",
    help="From then on: 2026-03-31, 2026-03-31T18:00 (local time) or 7d (ago).",
)


def _limit_option(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=default,
        show_default=True,
        metavar="N",
        help="The newest N; 0: all.",
    )


@contextmanager
def open_ledger(project_dir: str) -> Iterator[Ledger]:
    """Give the project's ledger, which must be there already.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    from dbt_osmosis_llm.cli.errors import UserError, user_errors
    from dbt_osmosis_llm.config import load_settings
    from dbt_osmosis_llm.ledger.database import CorruptLedgerError, LedgerError
    from dbt_osmosis_llm.ledger.store import Ledger

    with user_errors():
        place = load_settings(None, project_dir).ledger_place(project_dir)
    if place is None:
        raise UserError("No ledger is kept: OSMOSIS_LLM_LEDGER_URL or `ledger_url` is none.")
    try:
        with Ledger.open(place, create=False) as ledger:
            yield ledger
    except CorruptLedgerError as error:
        raise UserError(f"The ledger is damaged: {error}.") from None
    except LedgerError as error:
        raise UserError(f"The ledger cannot be used: {error}.") from None


@click.command()
@project_dir_option
@click.option("--run", "run_id", metavar="ID", help="All that is known of one run.")
@_limit_option(_RUNS_SHOWN)
@_json_option
def runs(project_dir: str, run_id: str | None, limit: int, *, as_json: bool) -> None:
    """List the runs on record, the newest last."""
    from dbt_osmosis_llm.cli import tables
    from dbt_osmosis_llm.ledger.statistics import statistics, total

    with open_ledger(project_dir) as ledger:
        if run_id is not None:
            run = find_run(ledger, run_id)
            numbers = total(statistics(ledger, run_id=run.run_id))
            tables.print_run(run, numbers, as_json=as_json)
            return
        # One more than is shown tells whether there are more.
        records = ledger.runs(limit=limit + 1 if limit else None)
        by_run = {}
        if records:
            # The calls of older runs are not shown.
            groups = statistics(ledger, "run", since=_newest(records, limit)[0].started_at)
            by_run = {group.group["run_id"]: group for group in groups}
    tables.print_runs(_newest(records, limit), by_run, as_json=as_json)
    _say_if_more(records, limit)


@click.command()
@project_dir_option
@click.option("--run", "run_id", metavar="ID", help="Of this run.")
@click.option("--node", metavar="NAME", help="About this table: its name or dbt unique id.")
@click.option("--provider", metavar="NAME", help="Of this provider.")
@click.option("--model", metavar="NAME", help="Asked of this model.")
@click.option("--status", type=click.Choice(["answered", "unusable", "failed"]))
@click.option("--search", metavar="TEXT", help="With this text in question, answer or error.")
@since_option
@_limit_option(_CALLS_SHOWN)
@_json_option
def calls(
    project_dir: str, run_id: str | None, limit: int, *, as_json: bool, **filters: Any
) -> None:
    """List the calls on record, the newest last."""
    from dbt_osmosis_llm.cli import tables

    used_again = 0
    with open_ledger(project_dir) as ledger:
        if run_id is not None:
            run_id = find_run(ledger, run_id).run_id
        records = ledger.query(run_id=run_id, limit=limit + 1 if limit else None, **filters)
        if run_id is not None and not records:
            used_again = len(ledger.hits(run_id=run_id))
    tables.print_calls(_newest(records, limit), as_json=as_json)
    _say_if_more(records, limit)
    if used_again:
        questions = _counted(used_again, "question")
        click.echo(f"Earlier calls had answered {questions} of this run.", err=True)


@click.command()
@project_dir_option
@click.argument("call", metavar="CALL")
@_json_option
def show(project_dir: str, call: str, *, as_json: bool) -> None:
    """Show a call: prompt, answer, usage, and what was written."""
    from dbt_osmosis_llm.cli import tables

    with open_ledger(project_dir) as ledger:
        record = _call(ledger, call)
        children = ledger.query(parent_call_id=record.call_id)
        hits = ledger.hits(call_id=record.call_id)
        texts = ledger.texts(call_id=record.call_id)
    tables.print_call(record, children, hits, texts, as_json=as_json)


@click.command()
@project_dir_option
@click.option(
    "--by",
    type=click.Choice(["provider", "model", "day", "run"]),
    default="model",
    show_default=True,
    help="What makes a row; a day is one in UTC.",
)
@since_option
@_json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def stats(
    project_dir: str, by: Any, since: datetime | None, *, as_json: bool, as_csv: bool
) -> None:
    """Sum up calls, failures, hits, tokens, cost and latency."""
    from dbt_osmosis_llm.cli import tables
    from dbt_osmosis_llm.ledger.statistics import statistics

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    with open_ledger(project_dir) as ledger:
        groups = statistics(ledger, by, since=since)
    if as_json:
        tables.print_json([group.as_row() for group in groups])
    elif as_csv:
        tables.print_csv(groups, by)
    else:
        tables.print_statistics(groups, by)


@click.command()
@project_dir_option
@click.option(
    "--older-than",
    callback=_age,
    required=True,
    metavar="AGE",
    help="Delete calls begun longer ago than this: 12h, 90d, 8w.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(project_dir: str, older_than: float, *, yes: bool) -> None:
    """Delete old calls.

    Their answers have to be paid for again where they are needed.
    """
    with open_ledger(project_dir) as ledger:
        limit = datetime.now(timezone.utc) - timedelta(days=older_than)
        count = ledger.count(until=limit)
        if count and not yes:
            click.confirm(
                f"Delete {_counted(count)} of {ledger.count():,} from {ledger.name}, for good?",
                abort=True,
                err=True,
            )
        deleted = ledger.prune(older_than)
    click.echo(f"{_counted(deleted)} deleted.", err=True)


@click.command()
@project_dir_option
def verify(project_dir: str) -> None:
    """Compute all hashes again and name calls that do not match.

    Exit code 1 if there is one.
    """
    wrong = 0
    with open_ledger(project_dir) as ledger:
        count = ledger.count()
        for call, reason in ledger.verify():
            wrong += 1
            click.echo(f"{call.call_id} {call.custom_id}: {reason}")
    verdict = f"{wrong:,} of them do not match" if wrong else "all match"
    click.echo(f"{_counted(count)} looked at, {verdict}.", err=True)
    if wrong:
        raise SystemExit(1)


COMMANDS = (runs, calls, show, stats, prune, verify)


def _newest(records: Sequence[Record], limit: int) -> Sequence[Record]:
    """Return the last so many; 0 stands for all."""
    return records[-limit:]


def _say_if_more(records: Sequence[Any], limit: int) -> None:
    if 0 < limit < len(records):
        click.echo(f"These are the newest {limit:,}; --limit 0 lists all.", err=True)


def _counted(count: int, what: str = "call") -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def find_run(ledger: Ledger, beginning: str) -> Run:
    """Return the one run whose id begins so; anything else is the user's mistake."""
    # Two tell that there are several.
    records = ledger.runs(run_id=beginning, limit=2)
    return _only(records, [run.run_id for run in records], "run", beginning)


def _call(ledger: Ledger, beginning: str) -> Call:
    records = ledger.query(call_id=beginning, limit=2)
    return _only(records, [call.call_id for call in records], "call", beginning)


def _only(records: Sequence[Record], ids: Sequence[str], what: str, beginning: str) -> Record:
    """Return the one record that was found.

    Raises:
        UserError: There is none, or there are several.
    """
    from dbt_osmosis_llm.cli.errors import UserError

    if not records:
        raise UserError(
            f"No {what}'s id begins with {beginning!r}; dbt-osmosis llm {what}s lists them."
        )
    if len(records) > 1:
        raise UserError(
            f"Several {what}s' ids begin with {beginning!r}, {' and '.join(ids)} among them; "
            "give more of it."
        )
    return records[0]
