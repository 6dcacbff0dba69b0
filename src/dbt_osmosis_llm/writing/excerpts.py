"""The parts of a YAML file that were written, as a small file of their own that is read fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbt_osmosis_llm.writing.tree import Node

# Many at once would be many objects at once, which Python looks through again and again.
_PARTS = 100


def excerpts_of(
    text: str, root: Node, written: Sequence[tuple[Any, ...]]
) -> list[tuple[str, list[Any]]] | None:
    """Return lists of the parts with the lines that they have in the file, and what each holds.

    None where parts cannot be read without what stands around them.

    Args:
        text: The file.
        root: Its nodes.
        written: Keys and indexes from the root to each part.
    """
    parts: list[str] = []
    values: list[Any] = []
    seen: set[int] = set()
    for path in written:
        found = _part(root, path)
        if found is None:
            return None
        first, last, value = found
        if first.start in seen:
            continue
        seen.add(first.start)
        end = text.find("\n", last)
        # At the column where it stands: what is indented below it is so by as much.
        margin = " " * first.column
        parts.append(f"-\n{margin}{text[first.start : end if end >= 0 else len(text)]}\n")
        values.append(value)
    starts = range(0, len(parts), _PARTS)
    return [("".join(parts[n : n + _PARTS]), values[n : n + _PARTS]) for n in starts]


def _part(root: Node, path: tuple[Any, ...]) -> tuple[Node, int, Any] | None:
    """Return the first node of a part, where its last value ends, and what it holds.

    It is the innermost key or item on lines of its own.
    """
    node, part = root, None
    for step in path:
        if node.anchor or node.kind not in ("mapping", "sequence"):
            return None
        is_block = node.style == "block"
        if node.kind == "mapping":
            pair = next((pair for pair in node.pairs if pair[0].value == step), None)
            if pair is None:
                return None
            key, node = pair
            if is_block:
                part = key, max(key.end, node.end), {key.value: node.value}
        else:
            node = node.items[step]
            if is_block:
                part = node, node.end, node.value
    # At the margin of the file nothing can be told from the excerpt's own dashes.
    return part if part is not None and part[0].column > 0 and not node.anchor else None
