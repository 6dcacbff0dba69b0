"""Which node waits for which: only for texts that are still being made, and that it can take.

Bit sets instead of walks through the graph: a project has thousands of nodes, and each of them may
inherit from any node upstream, however far.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ties:
    """What ties one node to others."""

    node_id: str
    parents: Collection[str] = ()
    """The nearest nodes upstream among those given."""
    is_open: bool = False
    """It lacks a text."""
    reads: Collection[str] = ()
    """Nodes whose texts stand in its own prompt."""
    takes: Callable[[], Collection[str]] = tuple
    """Returns names of upstream columns whose texts it may inherit; asked only where it matters."""
    gives: Collection[str] = ()
    """Names of its own columns whose texts may still change."""


def waits_for(nodes: Iterable[Ties]) -> dict[str, list[str]]:
    """Return the nodes that each node has to wait for, those left out that others imply.

    A node that lacks nothing waits for none, and none waits for it.

    Args:
        nodes: Parents before children.
    """
    place: dict[str, int] = {}
    ids: list[str] = []
    upstream: list[int] = []  # of each node, as all sets here: one bit a node, by its place
    awaited: list[int] = []  # directly or through others
    giving: dict[str, int] = {}
    open_nodes = 0
    waits: dict[str, list[str]] = {}
    for node in nodes:
        above = 0
        for parent in node.parents:
            above |= (1 << place[parent]) | upstream[place[parent]]
        wanted = 0
        if node.is_open:
            # What is read without being selected gets no text in this run.
            for other in node.reads:
                wanted |= (1 << place[other]) & open_nodes if other in place else 0
            if beyond := above & open_nodes & ~_without_implied(wanted, ids, awaited)[1]:
                for name in node.takes():
                    wanted |= giving.get(name, 0) & beyond
        bit = 1 << len(ids)
        open_nodes |= bit if node.is_open else 0
        for name in node.gives:
            giving[name] = giving.get(name, 0) | bit
        waits[node.node_id], closure = _without_implied(wanted, ids, awaited)
        place[node.node_id] = len(ids)
        ids.append(node.node_id)
        upstream.append(above)
        awaited.append(closure)
    return waits


def _without_implied(wanted: int, ids: list[str], awaited: list[int]) -> tuple[list[str], int]:
    """Return the nodes that imply all that are wanted, and the set of all that these imply."""
    implying: list[str] = []
    closure = 0
    while left := wanted & ~closure:
        last = left.bit_length() - 1  # what implies it would stand behind it
        implying.append(ids[last])
        closure |= (1 << last) | awaited[last]
    return implying, closure
