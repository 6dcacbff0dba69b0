"""``dbt-osmosis llm explain``: what is known of a table or column, and what a run would do with it.

Every dbt-osmosis command imports this module: what it needs is loaded in its functions. The result
alone goes to stdout, also where dbt prints something of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from dbt_osmosis_llm.cli.loading import project_options, stdout_to_stderr
from dbt_osmosis_llm.cli.options import by_name, setting_options, take_flags

_MAX_CANDIDATES = 10


@click.command()
@click.argument("node", metavar="NODE")
@click.argument("column", metavar="[COLUMN]", required=False)
@click.option("--prompt", is_flag=True, help="Also print the prompts that would be sent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_options
@click.option(
    "--catalog-path",
    type=click.Path(exists=True, dir_okay=False),
    help="Read columns from this catalog.json instead of the warehouse.",
)
@click.option("--disable-introspection", is_flag=True, help="Do not ask the warehouse.")
@setting_options("prompt_file", "provider", "model", "no_copy", "sample")
def explain(
    node: str, column: str | None, project_dir: str, *, prompt: bool, as_json: bool, **kwargs: Any
) -> None:
    """Show what is known of a table or column, and what is done.

    That is: what would be asked about it or copied, and why. NODE is the name of a model, source
    table or seed, or its dbt unique id. Nothing is asked and nothing is written.
    """
    from dbt_osmosis_llm.cli import tables
    from dbt_osmosis_llm.cli.errors import user_errors

    flags = by_name(take_flags(kwargs))
    with stdout_to_stderr(), user_errors():
        facts = _explained(node, column, project_dir, flags, kwargs, prompt=prompt)
    if as_json:
        tables.print_json(facts)
        return
    if column is None:
        _print_table(facts)
    else:
        _print_column(facts)
    if prompt:
        _print_prompts(facts.get("requests") or list(filter(None, [facts.get("request")])))


def _explained(
    node: str,
    column: str | None,
    project_dir: str,
    flags: Mapping[str, Any],
    host_options: Mapping[str, Any],
    *,
    prompt: bool,
) -> dict[str, Any]:
    """Return what is to be printed.

    Raises:
        UserError: There is no such table or column, or there are several.
    """
    from dbt_osmosis_llm.config import load_settings
    from dbt_osmosis_llm.host.context import open_context
    from dbt_osmosis_llm.host.inspection import HostInspection, table_names
    from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
    from dbt_osmosis_llm.host.nodes import Nodes
    from dbt_osmosis_llm.host.project import RehearsalProject
    from dbt_osmosis_llm.inspection.explanation import Explanation
    from dbt_osmosis_llm.inspection.outlook import Outlook
    from dbt_osmosis_llm.llm.configuration import LLMConfig
    from dbt_osmosis_llm.run.options import project_options
    from dbt_osmosis_llm.synthesis.prompts import load_prompts

    settings = load_settings(flags, project_dir, host_options["variables"])
    prompts = load_prompts(settings.prompt_file, settings.prompt_overrides)
    # Nobody is asked, so nobody has to have a key.
    config = LLMConfig.from_env(settings, needs_key=False)
    with open_context(project_dir, **host_options) as context:
        node_id = _table_id(node, table_names(Nodes(context)))
        root = context.project.runtime_cfg.project_root
        options = project_options(root, settings, config, prompts)
        project = RehearsalProject(context, node_id, writing=MinimalWriting(), **options)
        outlook = Outlook(
            project,
            HostInspection(project),
            node_id,
            settings,
            prompts,
            config,
            context.project.config.project_dir,
        )
        explanation = Explanation(outlook, prompt=prompt)
        if column is None:
            return explanation.table()
        return explanation.column(_column_name(column, explanation.columns, node))


def _table_id(name: str, names: Mapping[str, Collection[str]]) -> str:
    """Return the unique id of the one table of a name, whatever its case where that leaves one.

    Raises:
        UserError: There is none, or there are several.
    """
    from dbt_osmosis_llm.cli.errors import UserError
    from dbt_osmosis_llm.config import did_you_mean

    if name in names:
        return name
    ids = [uid for uid, called in names.items() if name in called]
    if not ids:
        folded = name.lower()
        ids = [uid for uid, called in names.items() if folded in map(str.lower, (uid, *called))]
    if not ids:
        by_lower = {each.lower(): each for called in names.values() for each in called}
        hint = did_you_mean(name, by_lower)
        raise UserError(f"No model, source table or seed is named {name!r}.{hint}")
    if len(ids) > 1:
        shown = ", ".join(ids[:_MAX_CANDIDATES])
        more = f" and {len(ids) - _MAX_CANDIDATES} more" if len(ids) > _MAX_CANDIDATES else ""
        raise UserError(f"Several tables are named {name!r}; give one of {shown}{more}.")
    return ids[0]


def _column_name(name: str, columns: Sequence[str], table: str) -> str:
    """Return a column's name as dbt-osmosis has it.

    Raises:
        UserError: There is none, or several differ only by case.
    """
    from dbt_osmosis_llm.cli.errors import UserError
    from dbt_osmosis_llm.config import did_you_mean
    from dbt_osmosis_llm.evidence.names import same_name

    matching = [column for column in columns if same_name(column, name)]
    if name in columns:
        return name
    if len(matching) > 1:
        raise UserError(f"{table} has several columns {name!r}; give one of {', '.join(matching)}.")
    if not matching:
        hint = did_you_mean(name, columns)
        listing = f" It has {', '.join(columns) or 'none that dbt-osmosis knows'}."
        raise UserError(f"{table} has no column {name!r}.{hint or listing}")
    return matching[0]


def _print_table(facts: Mapping[str, Any]) -> None:
    from dbt_osmosis_llm.cli import tables

    kinds = dict.fromkeys(filter(None, (facts["resource_type"], facts["materialization"])))
    grain = (f"{', '.join(key['columns'] or ['row'])} ({key['why']})" for key in facts["grain"])
    joins = (f"{j['kind']} {j['table']} on {j['condition'] or 'nothing'}" for j in facts["joins"])
    tables.print_facts(
        {
            "table": facts["name"],
            "unique id": facts["node"],
            "kind": ", ".join(kinds),
            "YAML file": facts["yaml_file"] or "none",
            "text": _one_line(facts["text"]),
            "what happens": facts["why"],
            "SQL": _sql(facts["sql"]),
            "one row per": "; per ".join(grain),
            "joins": "; ".join(joins),
            "filters": "; ".join(facts["filters"]),
            "set operations": ", ".join(facts["set_operations"]),
            "tests": "; ".join(facts["tests"]),
            "requests": "; ".join(map(_request, facts["requests"])),
            "asked first": _asked_first(facts),
        }
    )
    if facts["reads"]:
        tables.print_title("reads")
        tables.print_facts(
            {
                table["name"]: f"{_one_line(table['text'])}{_place(table)}"
                for table in facts["reads"]
            }
        )
    if columns := facts["columns"]:
        tables.print_title("columns")
        names = ("column", "type", "kind", "why")
        for line in _aligned(tuple(column[name] or "" for name in names) for column in columns):
            click.echo(tables.printable(line))


def _print_column(facts: Mapping[str, Any]) -> None:
    from dbt_osmosis_llm.cli import tables

    same = [use for use in facts["used_as"] if not use["expression"]]
    others = [use for use in facts["used_as"] if use["expression"]]
    tables.print_facts(
        {
            "column": f"{facts['table']}.{facts['column']}",
            "type": facts["type"],
            "kind": facts["kind"],
            "expression": facts["expression"],
            "SQL": _sql(facts["sql"]),
            "text": _one_line(facts["text"]) if facts["text"] else "none",
            "what happens": facts["why"],
            "tests": ", ".join(facts["tests"]),
            "tags": ", ".join(facts["tags"]),
            "meta": ", ".join(f"{key}={value}" for key, value in facts["meta"].items()),
            "without a row": "; ".join(map(_without_partner, facts["without_partner"])),
            "also in": "; ".join(f"{_named(use)}{_said(use['text'])}" for use in same),
            "used in": "; ".join(f"{_named(use)}{_said(use['expression'])}" for use in others),
            "request": _request(facts["request"]) if facts["request"] else None,
            "asked first": _asked_first(facts),
        }
    )
    if facts["text_from"]:
        tables.print_title("its text comes from")
        _print_chain(facts["text_from"])
    if facts["made_of"]:
        tables.print_title("made of")
    for leaf in facts["made_of"]:
        line = f"{leaf['table']}.{leaf['column']}: {_one_line(leaf['text'])}"
        click.echo(tables.printable(line))
        _print_chain(leaf["text_from"])


def _named(use: Mapping[str, Any]) -> str:
    return ".".join(filter(None, (use["table"], use["column"])))


def _said(text: str | None) -> str:
    return f": {_one_line(text)}" if text else ""


def _without_partner(absence: Mapping[str, Any]) -> str:
    value = "empty" if absence["value"].upper() == "NULL" else absence["value"]
    return f"{value} where {absence['table']} has none"


def _print_chain(steps: Sequence[Mapping[str, Any]]) -> None:
    from dbt_osmosis_llm.cli import tables

    for step in steps:
        place = " (asked for first)" if step["asked_first"] else _place(step)
        how = f" [{step['how']}]" if step["how"] else ""
        place = place or " (not in a YAML file yet)"
        click.echo(tables.printable(f"  <- {step['table']}.{step['column']}{how}{place}"))


def _print_prompts(requests: Sequence[Mapping[str, Any]]) -> None:
    from dbt_osmosis_llm.cli import tables

    if not requests:
        click.echo("Nothing is asked: there is no prompt.", err=True)
    for request in requests:
        for message in request["messages"]:
            tables.print_title(message["role"])
            click.echo(tables.printable(message["content"]))


def _asked_first(facts: Mapping[str, Any]) -> str:
    """Return the tables whose new texts stand in a prompt."""
    return ", ".join(dict.fromkeys(text["table"] for text in facts["asked_first"]))


def _aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield a line for each row; the last cell may be of any length."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    for *first, last in cells:
        padded = (f"{cell:<{width}}" for cell, width in zip(first, widths, strict=True))
        yield "  ".join([*padded, last])


def _one_line(text: str | None) -> str:
    return " ".join(text.split()) if text else "(no text)"


def _place(place: Mapping[str, Any]) -> str:
    doc = place["doc"] and f"doc block {place['doc']}"
    places = ", ".join(filter(None, (place["file"], doc)))
    return f" (in {places})" if places else ""


def _sql(sql: Mapping[str, Any]) -> str | None:
    if sql["state"] is None:
        return None
    if sql["compile_error"]:
        return f"does not compile, the raw file stands in for it: {sql['compile_error']}"
    return "compiled" if sql["lineage"] else "compiled, but it shows no lineage"


def _request(request: Mapping[str, Any]) -> str:
    columns = request["columns"]
    what = [f"{len(columns)} column{'' if len(columns) == 1 else 's'}"] if columns else []
    what += ["the table"] if request["table_text"] else []
    answered = request["answered_by_call"]
    on_record = f", answered before by call {answered}" if answered else ""
    return f"{' and '.join(what)}, about {request['prompt_tokens']:,} tokens{on_record}"
