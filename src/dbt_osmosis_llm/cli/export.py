"""``dbt-osmosis llm export``: the ledger's calls for other tools.

Every dbt-osmosis command imports this module: what the command needs is loaded in it.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from dbt_osmosis_llm.cli.ledger import find_run, open_ledger, since_option
from dbt_osmosis_llm.cli.options import project_dir_option

if TYPE_CHECKING:
    from dbt_osmosis_llm.ledger.events import Exported
    from dbt_osmosis_llm.ledger.store import Ledger

_STDOUT = "-"


@click.command()
@project_dir_option
@click.option(
    "--format",
    type=click.Choice(["parquet", "jsonl", "csv"]),
    default=None,
    help="parquet adds what is missing to a folder, the others replace a file; by the ending "
    "of PLACE when not given, parquet for a folder.",
)
@click.option(
    "--to",
    "where",
    metavar="PLACE",
    required=True,
    help="A path or s3://bucket/prefix; - for stdout (jsonl and csv).",
)
@click.option("--run", "run_id", metavar="ID", help="Of this run.")
@since_option
def export(
    project_dir: str, format: Any, where: str, run_id: str | None, since: datetime | None
) -> None:
    """Write the calls on record as Parquet, JSON lines or CSV.

    Each call has two rows, for its start and its end.
    """
    from dbt_osmosis_llm.cli.errors import UserError
    from dbt_osmosis_llm.ledger.places import ExportError

    ending = where.rpartition(".")[2]
    format = format or (ending if ending in ("jsonl", "csv") else "parquet")
    if where == _STDOUT and format == "parquet":
        raise click.UsageError("--to - is for jsonl and csv; Parquet goes to a folder.")
    with open_ledger(project_dir) as ledger:
        if run_id is not None:
            run_id = find_run(ledger, run_id).run_id
        try:
            done = _export(ledger, where, format, run_id, since)
        except ExportError as error:
            raise UserError(f"The export failed: {error}.") from None
    known = f"; {done.known:,} were there already" if done.known else ""
    click.echo(f"{done.rows:,} rows written to {_name(where)}{known}.", err=True)


def _export(
    ledger: Ledger, where: str, format: Any, run_id: str | None, since: datetime | None
) -> Exported:
    from dbt_osmosis_llm.ledger.events import Exported
    from dbt_osmosis_llm.ledger.export import events, export, write_text

    if where != _STDOUT:
        return export(ledger, where, format, run_id=run_id, since=since)
    rows = events(ledger, ledger.stream(run_id=run_id, since=since))
    return Exported(rows=write_text(rows, format, sys.stdout.buffer))


def _name(where: str) -> str:
    return "stdout" if where == _STDOUT else where
