"""In which lines of a YAML file the entries of tables, versions and columns stand."""

from __future__ import annotations

from dbt_osmosis_llm.writing.reconcile import LISTS, EntryPath, step_to
from dbt_osmosis_llm.writing.tree import READ_ERRORS, Node, UnsafeYamlError, line_of, read_tree


def lines(text: str) -> dict[EntryPath, int]:
    """Return the line, from 1, in which each entry of a file begins; nothing for no valid YAML.

    Args:
        text: The file.
    """
    found: dict[EntryPath, int] = {}
    try:
        root = read_tree(text)
    except (UnsafeYamlError, *READ_ERRORS):
        return {}
    if root is not None:
        _find(text, root, (), found)
    return found


def _find(text: str, section: Node, path: EntryPath, found: dict[EntryPath, int]) -> None:
    for key, items in section.pairs:
        if key.value not in LISTS or items.kind != "sequence":
            continue
        for item in items.items:
            value = item.value if isinstance(item.value, dict) else {}
            identity = value.get("name", value.get("v"))
            if identity is not None and item.kind == "mapping":
                name = identity[-1] if isinstance(identity, tuple) else identity
                place = (*path, step_to(str(key.value), name))
                found.setdefault(place, line_of(text, item.start))
                _find(text, item, place, found)
