"""Rows of results, and how they look in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = dict[str, str]


def judged(figure: str, measured: str, target: str, is_met: bool) -> Row:
    """Return a row that says whether a figure is what it should be."""
    met = "yes" if is_met else "NO"
    return {"figure": figure, "measured": measured, "target": target, "met": met}


def bounded(figure: str, value: float, most: float | None, unit: str) -> Row:
    """Return a row about a figure that should not be above a bound, if there is one."""
    target = "-" if most is None else f"at most {most:g} {unit}"
    return judged(figure, f"{value:.2f} {unit}", target, most is None or value <= most)


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows, each a cell by its column's title, as a table."""
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
