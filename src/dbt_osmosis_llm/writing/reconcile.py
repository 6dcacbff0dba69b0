"""What of dbt-osmosis's result goes into a YAML file that is there already.

dbt-osmosis writes each section anew: it renders ``{{ doc() }}``, moves ``config: meta``, drops
empty keys and sorts. Of all that only what a user asked for is wanted here: texts, data types,
inherited tags and meta, columns and tables that are new or gone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name, same_name

JINJA = re.compile(r"\{[{%#]")
_CHANGEABLE = frozenset({"name", "description", "data_type"})
"""Scalars that an entry may get another value of."""

LISTS = frozenset(
    {"models", "seeds", "snapshots", "sources", "tables", "versions", "columns"},
)
"""Lists whose items have a name, or a version, of their own."""

_NESTED = frozenset({"meta", "tags"})
"""What may stand under ``config`` as well."""


EntryPath = tuple[tuple[str, str], ...]
"""Where an entry stands in a file: key and folded identity of each list that leads to it."""


def reconciled(
    original: Mapping[str, Any],
    wanted: Mapping[str, Any],
    own_references: Mapping[str, str] = MappingProxyType({}),
    left_alone: Collection[EntryPath] = (),
) -> dict[str, Any]:
    """Return what a file should hold.

    Args:
        original: What it holds, as it is loaded or in the form of `normal`.
        wanted: What dbt-osmosis would write instead, in the same form.
        own_references: References to blocks of ours, each with the block's text: they may be
            replaced by another text.
        left_alone: Entries that stay as they are; those that the file holds twice always do.
    """
    kept = {*left_alone, *doubled(original)}
    return _Reconciliation(own_references, kept).document(original, wanted)


def doubled(document: Mapping[str, Any]) -> dict[EntryPath, list[Any]]:
    """Return the entries that a file holds more than once, each with their names as written.

    dbt merges them, or takes one of them; which of them a text would belong to nobody can tell.
    """
    found: dict[EntryPath, list[Any]] = {}
    _find_doubled(document, (), found)
    return found


def _find_doubled(
    section: Mapping[str, Any], path: EntryPath, found: dict[EntryPath, list[Any]]
) -> None:
    for key in LISTS & set(section):
        items = section[key]
        if not _is_list(items):
            continue
        entries = [item for item in items if isinstance(item, Mapping)]
        names: dict[EntryPath, list[Any]] = {}
        for entry in entries:
            if (place := step(key, entry)) is not None:
                names.setdefault((*path, place), []).append(_identity(entry))
                _find_doubled(entry, (*path, place), found)
        found.update({place: written for place, written in names.items() if len(written) > 1})


def step_to(key: str, identity: Hashable) -> tuple[str, str]:
    """Return the step of an `EntryPath` to an entry with a name, or version, in a list."""
    return key, str(_folded(identity))


def step(key: str, entry: Any) -> tuple[str, str] | None:
    """Return the step of an `EntryPath` to an entry of a list, None when it has no name."""
    identity = _identity(entry)
    return None if identity is None else step_to(key, identity)


class _Reconciliation:
    def __init__(
        self, own_references: Mapping[str, str], left_alone: Collection[EntryPath]
    ) -> None:
        self._own_references = own_references
        self._left_alone = left_alone

    def document(self, original: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in original.items():
            if key in wanted:
                result[key] = self._value(key, value, wanted[key], ())
            elif key not in LISTS or not value:  # else its last entry went to another file
                result[key] = plain(value)
        result |= {key: plain(value) for key, value in wanted.items() if key not in result}
        return result

    def _value(self, key: str, original: Any, wanted: Any, path: EntryPath) -> Any:
        if key in LISTS and _is_list(original or []) and _is_list(wanted or []):
            if not original and not wanted:
                return original
            return self._items(key, original or [], wanted or [], path)
        if key == "tags" and _is_list(original) and _is_list(wanted):
            return [*plain(original), *(tag for tag in plain(wanted) if tag not in original)]
        if key == "meta" and isinstance(original, Mapping) and isinstance(wanted, Mapping):
            return _meta(original, wanted)
        if key == "config" and isinstance(original, Mapping) and isinstance(wanted, Mapping):
            nested = {name: wanted[name] for name in _NESTED & set(wanted)}
            return {
                name: self._value(name, v, nested.pop(name, v), path)
                for name, v in original.items()
            } | {name: plain(value) for name, value in nested.items() if value}
        return plain(original)

    def _entry(
        self, original: Mapping[str, Any], wanted: Mapping[str, Any], path: EntryPath
    ) -> dict[str, Any]:
        """Return an entry of a list: a table, a version, a column."""
        wanted = _where_it_stands(original, wanted)
        if "versions" in original and "versions" in wanted:
            wanted = {**wanted, "versions": _without_inherited(original, wanted["versions"])}
        result: dict[str, Any] = {}
        for key, value in original.items():
            new = wanted.get(key, value)
            if key in _CHANGEABLE and isinstance(new, str) and self._may_become(key, value, new):
                result[key] = str(new)
            else:
                result[key] = self._value(key, value, new, path)
        for key, value in wanted.items():
            # A version that nobody pinned stays unpinned.
            if key not in result and value not in (None, "", [], {}) and key != "latest_version":
                result[key] = plain(value)
        return result

    def _may_become(self, key: str, original: Any, wanted: str) -> bool:
        if original is None or original == "":
            return True
        if isinstance(original, str) and original.strip() in self._own_references:
            return self._own_references[original.strip()].split() != wanted.split()
        if not isinstance(original, str) or JINJA.search(original):
            return False
        if key == "name":  # another case, as output-to-lower wants it
            return same_name(original, wanted)
        # dbt reads texts without the line end of a block; that is no other text.
        return original.split() != wanted.split()

    def _items(
        self, key: str, original: Sequence[Any], wanted: Sequence[Any], path: EntryPath
    ) -> list[Any]:
        """Return the items in the order that they have, new ones behind their wanted neighbours."""
        # By identity: a list may hold equal items.

        def is_left_alone(item: Any) -> bool:
            place = step(key, item)
            return place is not None and (*path, place) in self._left_alone

        wanted = [item for item in wanted if not is_left_alone(item)]
        left = {id(item): item for item in wanted}
        by_exact: dict[Hashable, list[Any]] = {}
        by_folded: dict[Hashable, list[Any]] = {}
        for item in wanted:
            by_exact.setdefault(_identity(item), []).append(item)
            by_folded.setdefault(_folded(_identity(item)), []).append(item)
        pairs: list[tuple[Any, Any]] = []
        for item in original:
            if is_left_alone(item):
                pairs.append((plain(item), None))
                continue
            identity = _identity(item)
            candidates = [*by_exact.get(identity, ()), *by_folded.get(_folded(identity), ())]
            match = next((candidate for candidate in candidates if id(candidate) in left), None)
            if match is not None:
                del left[id(match)]
                both = isinstance(item, Mapping) and isinstance(match, Mapping)
                inner = step(key, item)
                place = path if inner is None else (*path, inner)
                pairs.append((self._entry(item, match, place) if both else plain(item), match))
            elif identity is None or candidates:  # no name, or one more of the same name: not ours
                pairs.append((plain(item), None))
        known = {_folded(_identity(item)) for item, _ in pairs} - {None}
        for index, item in enumerate(wanted):
            name = _folded(_identity(item))
            # One entry a name, whatever the case: nobody could tell two of them apart.
            if id(item) in left and name not in known:
                known |= {name} - {None}
                before = {id(earlier) for earlier in wanted[:index]}
                position = max(
                    (place + 1 for place, pair in enumerate(pairs) if id(pair[1]) in before),
                    default=0,
                )
                pairs.insert(position, (plain(item), item))
        return [item for item, _ in pairs]


def _meta(original: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    # dbt-osmosis's own notes change; what people wrote does not.
    return {
        key: plain(wanted.get(key, value) if str(key).startswith("osmosis_") else value)
        for key, value in original.items()
    } | {key: plain(value) for key, value in wanted.items() if key not in original}


def _where_it_stands(original: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is wanted, its meta and tags above or under ``config`` as they stand now."""
    config, new_config = _mapping(original.get("config")), _mapping(wanted.get("config"))
    changed, new_config = dict(wanted), dict(new_config)
    for key in _NESTED:
        if key in config and key in changed and key not in original:
            new_config.setdefault(key, changed.pop(key))
        elif key in original and key in new_config and key not in config:
            changed.setdefault(key, new_config.pop(key))
    if new_config:
        changed["config"] = new_config
    else:
        changed.pop("config", None)
    return changed


def _without_inherited(model: Mapping[str, Any], versions: Sequence[Any]) -> list[Any]:
    """Return a model's versions without what they would only repeat of the model.

    Columns that a version does not speak of are those of the model, by dbt's own rule.
    """
    of_model = {
        _folded(_identity(column)): str(column["description"])
        for column in model.get("columns") or ()
        if isinstance(column, Mapping) and column.get("description")
    }

    def only_repeats(column: Any) -> bool:
        said = of_model.get(_folded(_identity(column)))
        text = str(column.get("description") or "") if isinstance(column, Mapping) else ""
        # dbt-osmosis gives what dbt has rendered.
        return said is not None and (
            not text or bool(JINJA.search(said)) or said.split() == text.split()
        )

    listed = {
        (_identity(version), _folded(_identity(column)))
        for version in model["versions"] or ()
        if isinstance(version, Mapping)
        for column in version.get("columns") or ()
    }
    reduced_versions: list[Any] = []
    for version in versions:
        if not isinstance(version, Mapping):
            reduced_versions.append(version)
            continue
        reduced = dict(version)
        if model.get("description") and not _describes(model["versions"], version):
            reduced.pop("description", None)
        reduced["columns"] = [
            column
            for column in version.get("columns") or ()
            if (_identity(version), _folded(_identity(column))) in listed
            or not only_repeats(column)
        ]
        reduced_versions.append(reduced)
    return reduced_versions


def _describes(versions: Sequence[Any] | None, version: Mapping[str, Any]) -> bool:
    """Tell whether a version has a description of its own in the file."""
    return any(
        isinstance(entry, Mapping)
        and _identity(entry) == _identity(version)
        and entry.get("description")
        for entry in versions or ()
    )


def _identity(item: Any) -> Hashable:
    if not isinstance(item, Mapping):
        return None
    name = item.get("name", item.get("v"))
    return name if isinstance(name, Hashable) else None


def _folded(identity: Hashable) -> Hashable:
    if isinstance(identity, tuple):  # a number in the form of `normal`
        identity = identity[-1]
    return None if identity is None else plain_name(str(identity))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_list(value: Any) -> bool:
    # Pairs are values that are no texts, in the form of `normal`.
    return isinstance(value, Sequence) and not isinstance(value, str | tuple)


def plain(value: Any) -> Any:
    """Return data without what ruamel knows of its layout."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if _is_list(value):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
