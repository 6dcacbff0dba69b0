"""Reads YAML as dbt does: by PyYAML, with a warning of keys that are in a mapping twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

# With libyaml where PyYAML was built with it.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader(_SafeLoader):  # type: ignore[misc]  # which one it is depends on libyaml
    """Counts doubled keys as dbt does: overriding a merged key counts unless `<<` stands first."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.doubled = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        merges_first = bool(node.value) and node.value[0][0].value == "<<"
        self.flatten_mapping(node)
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    problem="found an unhashable key", problem_mark=key_node.start_mark
                )
            value = self.construct_object(value_node, deep=deep)
            self.doubled += not merges_first and key in mapping
            mapping[key] = value
        return mapping


_Reader.add_constructor("tag:yaml.org,2002:map", _Reader.construct_mapping)


def read_by_dbt(text: str) -> tuple[Any, int]:
    """Return what a YAML file holds for dbt, and how many keys it warns of as being there twice.

    Raises:
        yaml.YAMLError: dbt cannot read it.
        ValueError: It has a date or a number that there is not.
    """
    reader = _Reader(text)
    try:
        return reader.get_single_data(), reader.doubled
    finally:
        reader.dispose()
