"""Who waits for whom."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial

import pytest

from dbt_osmosis_llm.synthesis.waits import Ties, waits_for
from tests.limits import cpu_limit


def lacking(
    node_id: str, *parents: str, reads: str | None = None, takes: str = "", gives: str = ""
) -> Ties:
    """Return a node that lacks its own text and gives columns, one letter each."""
    read = parents if reads is None else list(reads)
    return Ties(node_id, parents, True, read, lambda: takes, gives)


def complete(node_id: str, *parents: str) -> Ties:
    return Ties(node_id, parents, False, parents, lambda: "xyz")


CASES: dict[str, tuple[list[Ties], Mapping[str, list[str]]]] = {
    "a child reads its parent's texts": (
        [lacking("a"), lacking("b", "a")],
        {"a": [], "b": ["a"]},
    ),
    "what lacks nothing waits for nothing and nothing for it": (
        [lacking("a", gives="x"), complete("b", "a"), lacking("c", "b")],
        {"a": [], "b": [], "c": []},
    ),
    "past a complete parent, a column of the same name may be inherited": (
        [lacking("a", gives="x"), complete("b", "a"), lacking("c", "b", takes="xz", gives="x")],
        {"a": [], "b": [], "c": ["a"]},
    ),
    "a name that is not upstream is not waited for": (
        [lacking("a", gives="x"), lacking("b", takes="x", gives="x")],
        {"a": [], "b": []},
    ),
    "a name that is settled upstream is not waited for": (
        [lacking("a", gives="y"), complete("b", "a"), lacking("c", "b", takes="x", gives="x")],
        {"a": [], "b": [], "c": []},
    ),
    "what an awaited node waits for is implied": (
        [lacking("a", gives="x"), lacking("b", "a"), lacking("c", "b", "a", takes="x")],
        {"a": [], "b": ["a"], "c": ["b"]},
    ),
    "being upstream of an awaited node implies nothing": (
        [
            lacking("a", gives="x"),
            complete("b", "a"),
            lacking("c", "b"),
            lacking("d", "c", takes="x"),
        ],
        {"a": [], "b": [], "c": [], "d": ["c", "a"]},
    ),
    "implied through several": (
        [
            lacking("a", gives="x"),
            lacking("b", "a"),
            lacking("c", "a"),
            lacking("d", "b", "c", takes="x"),
            lacking("e", "d", "b", takes="x"),
        ],
        {"a": [], "b": ["a"], "c": ["a"], "d": ["c", "b"], "e": ["d"]},
    ),
    "what is read and not among them is not waited for": (
        [lacking("a"), lacking("b", "a", reads="aqr")],
        {"a": [], "b": ["a"]},
    ),
    "a selected node behind one that is not selected is read by nobody": (
        [lacking("a", gives="x"), lacking("b", "a", reads="q", takes="y", gives="y")],
        {"a": [], "b": []},
    ),
}


@pytest.mark.parametrize(("nodes", "expected"), CASES.values(), ids=CASES)
def test_only_what_is_still_being_made_is_waited_for(
    nodes: list[Ties], expected: Mapping[str, list[str]]
) -> None:
    assert waits_for(nodes) == expected


def test_thousands_of_nodes_take_no_time() -> None:
    draw = random.Random(3)
    nodes = []
    for index in range(4000):
        above = {f"n{draw.randrange(max(0, index - 300), index)}" for _ in range(4) if index}
        names = [f"c{draw.randrange(2000)}" for _ in range(30)]
        is_open = index % 3 > 0
        gives = names[:10] if is_open else ()
        nodes.append(Ties(f"n{index}", above, is_open, above, partial(set, names), gives))
    with cpu_limit(2):
        waits = waits_for(nodes)
    assert sum(map(len, waits.values())) > 4000
