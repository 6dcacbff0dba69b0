"""What a prompt leaves out to stay within a number of tokens.

What is least specific goes first, and the blocks of the columns asked for never go: a request about
a table that reads a hundred others costs no more than it must, and still says what defines each
column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.names import folded
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.evidence.sql_text import code_only
from dbt_osmosis_llm.evidence.wording import Rank, Wording, without_lines

_BYTES_PER_TOKEN = 4
_MIN_SQL_CHARS = 2000
"""Kept in any case: less tells a model too little."""

_NOTE_CHARS = 80
"""Of the line that says how much of the SQL is not shown."""

_MIN_CTE_CHARS = 200
"""Of the text of a CTE that is worth leaving out."""

_WITH = re.compile(r"\s*with\s+(?:recursive\s+)?", re.IGNORECASE)
_CTE = re.compile(
    r"\s*(?P<name>\w+)\s*(?:\([^()]*\)\s*)?as\s*(?:(?:not\s+)?materialized\s*)?\(", re.IGNORECASE
)
_SAID = {
    Rank.UNREAD: "texts of upstream columns that the SQL does not name",
    Rank.READ: "texts of upstream columns that make none of the columns",
    Rank.NEIGHBOUR: "other tables of the source",
    Rank.OWN: "texts of the table's other columns",
}


def fitted(
    wording: Wording,
    node: NodeEvidence,
    asked: Sequence[str],
    tokens_of: Callable[[Wording], int],
    max_tokens: int,
) -> Wording:
    """Return the wording without what does not fit; each thing left out is logged.

    Args:
        wording: All that is known.
        node: What it is about.
        asked: The columns asked for.
        tokens_of: Tells about how many tokens the prompt takes with a wording.
        max_tokens: Of the prompt.
    """
    steps: list[tuple[str, Callable[[Wording, int], Wording]]] = [
        *((_SAID[rank], partial(_without_rank, rank=rank)) for rank in Rank),
        (
            "CTEs that make none of the columns",
            partial(_without_ctes, node=node, asked=asked),
        ),
        ("the end of the SQL", _with_cut_sql),
    ]
    tokens = tokens_of(wording)
    for what, step in steps:
        if tokens <= max_tokens:
            break
        wording = step(wording, (tokens - max_tokens) * _BYTES_PER_TOKEN)
        before, tokens = tokens, tokens_of(wording)
        if tokens < before:
            logger.debug(
                "%s: left out of the prompt, which may take %d tokens: %s (about %d tokens)",
                node.unique_id,
                max_tokens,
                what,
                before - tokens,
            )
    if tokens > max_tokens:
        logger.debug(
            "%s: the prompt takes about %d tokens, %d more than it should: the rest is what "
            "defines its columns",
            node.unique_id,
            tokens,
            tokens - max_tokens,
        )
    return wording


def _without_rank(wording: Wording, excess_bytes: int, *, rank: Rank) -> Wording:
    return replace(
        wording,
        context=without_lines(wording.context, rank, excess_bytes),
        upstream=without_lines(wording.upstream, rank, excess_bytes),
    )


def _with_cut_sql(wording: Wording, excess_bytes: int) -> Wording:
    shown = min(len(wording.sql), wording.max_sql_chars or len(wording.sql))
    return replace(wording, max_sql_chars=max(_MIN_SQL_CHARS, shown - excess_bytes - _NOTE_CHARS))


def _without_ctes(
    wording: Wording, excess_bytes: int, *, node: NodeEvidence, asked: Sequence[str]
) -> Wording:
    relations = _relations_of(node, asked)
    if relations is None:
        return wording
    return replace(wording, sql=without_ctes(wording.sql, relations, excess_bytes))


def _relations_of(node: NodeEvidence, asked: Sequence[str]) -> set[str] | None:
    """Return the relations that columns are made of; None where that is not certain."""
    known = list(filter(None, map(node.facts.known_column, asked)))
    if not known or len(known) < len(asked):
        return None
    return {leaf.relation for lineage in known for leaf in lineage.leaves}


class _Cte(NamedTuple):
    name: str
    start: int
    """Of what stands between its parentheses."""
    end: int


def without_ctes(sql: str, relations: Collection[str], excess_bytes: int) -> str:
    """Return the SQL with a comment in place of CTEs that some relations do not go through.

    The largest go first. A CTE that reads one of the relations, or another CTE that does, stays.

    Args:
        sql: One query.
        relations: By their unquoted names.
        excess_bytes: How much must go, if there is so much.
    """
    ctes = list(_ctes(sql))
    needed = {folded(relation.rpartition(".")[2]) for relation in relations}
    for cte in ctes:
        body = folded(sql[cte.start : cte.end])
        if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", body) for name in needed):
            needed.add(cte.name)
    left_out = []
    for cte in sorted(ctes, key=lambda cte: (cte.start - cte.end, cte.start)):
        size = cte.end - cte.start
        if excess_bytes > 0 and cte.name not in needed and size >= _MIN_CTE_CHARS:
            left_out.append(cte)
            excess_bytes -= size - _NOTE_CHARS
    for cte in sorted(left_out, key=lambda cte: cte.start, reverse=True):
        note = f"\n-- ({cte.end - cte.start} characters about other columns are not shown)\n"
        sql = f"{sql[: cte.start]}{note}{sql[cte.end :]}"
    return sql


def _ctes(sql: str) -> Iterator[_Cte]:
    """Yield the CTEs of the outermost WITH, as far as they are plain to see."""
    code = code_only(sql)
    begin = _WITH.match(code)
    position = begin.end() if begin else len(code)
    while (head := _CTE.match(code, position)) is not None:
        end = _closing(code, head.end())
        if end is None:
            return
        yield _Cte(folded(head["name"]), head.end(), end)
        comma = re.compile(r"\s*,").match(code, end + 1)
        if comma is None:
            return
        position = comma.end()


def _closing(code: str, start: int) -> int | None:
    depth = 1
    for token in re.compile(r"[()]").finditer(code, start):
        depth += 1 if token[0] == "(" else -1
        if not depth:
            return token.start()
    return None
