"""Whether texts can be put into a file, tried before anybody pays for them.

The trial is the change itself, with texts that stand for those to come: a second set of rules would
allow one day what the first one refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dbt_osmosis_llm.writing.patch import patched
from dbt_osmosis_llm.writing.reconcile import EntryPath, plain, reconciled, step_to
from dbt_osmosis_llm.writing.tree import READ_ERRORS, UnsafeYamlError

_TEXT = "A text: with `signs`, as language models write them."


def refusals(
    text: str,
    document: Mapping[str, Any],
    entries: Mapping[str, tuple[EntryPath, Collection[str]]],
) -> dict[str, str]:
    """Return the entries of a file that cannot be given texts, with the reason.

    Args:
        text: The file.
        document: What it holds.
        entries: Of any key: where the entry stands, and the names of the columns that need a text;
            an empty name stands for the entry itself.
    """
    if _refusal(text, document, entries.values()) is None:
        return {}
    reasons = {key: _refusal(text, document, [entry]) for key, entry in entries.items()}
    return {key: reason for key, reason in reasons.items() if reason is not None}


def _refusal(
    text: str, document: Mapping[str, Any], entries: Collection[tuple[EntryPath, Collection[str]]]
) -> str | None:
    wanted = plain(document)
    for path, names in entries:
        entry = _entry_at(wanted, path)
        if "" in names:
            entry["description"] = _TEXT
        for name in names:
            if name:
                _entry_at(entry, (step_to("columns", name),), name)["description"] = _TEXT
    try:
        patched(text, reconciled(document, wanted))
    except (UnsafeYamlError, *READ_ERRORS) as error:
        return (str(error).splitlines() or ["it cannot be changed"])[0]
    return None


def _entry_at(document: dict[str, Any], path: EntryPath, name: str = "") -> dict[str, Any]:
    """Return an entry, made where there is none."""
    entry = document
    for key, identity in path:
        items = entry.get(key)
        if not isinstance(items, list):
            items = entry[key] = []
        known = (
            item
            for item in items
            if isinstance(item, dict)
            and step_to(key, item.get("name", item.get("v"))) == (key, identity)
        )
        found = next(known, None)
        if found is None:
            found = {"v" if key == "versions" else "name": name or identity}
            items.append(found)
        entry = found
    return entry
