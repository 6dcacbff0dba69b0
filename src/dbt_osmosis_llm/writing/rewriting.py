"""A YAML file with what dbt-osmosis would write into it, as far as it can hold that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from dbt_osmosis_llm.writing.patch import patched_tree, root_of
from dbt_osmosis_llm.writing.reconcile import EntryPath, reconciled
from dbt_osmosis_llm.writing.sharing import agreed
from dbt_osmosis_llm.writing.tree import Node, normal


def rewritten(
    text: str,
    wanted: Mapping[str, Any],
    own_references: Mapping[str, str] = MappingProxyType({}),
    left_alone: Collection[EntryPath] = (),
) -> str:
    """Return the text of a YAML file changed to what dbt-osmosis would write.

    Args:
        text: The file, with its line ends and its byte order mark.
        wanted: What dbt-osmosis would write instead.
        own_references: See `reconciled`.
        left_alone: See `reconciled`.

    Raises:
        UnsafeYamlError: The file cannot be changed safely, or not in this way.
    """
    root = root_of(text)
    goal = goal_of(root, normal(wanted, lenient=True), own_references, left_alone)
    return patched_tree(text, root, goal)


def goal_of(
    root: Node | None,
    wanted: Mapping[str, Any],
    own_references: Mapping[str, str] = MappingProxyType({}),
    left_alone: Collection[EntryPath] = (),
) -> dict[Any, Any]:
    """Return what a file shall hold, in the form of `normal` that `wanted` has, too."""
    before = root.value if root is not None else {}
    return agreed(root, reconciled(before, wanted, own_references, left_alone))
