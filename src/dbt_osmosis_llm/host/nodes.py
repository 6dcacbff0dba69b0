"""The tables of a manifest: what they are called, what they read, what their texts say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from dbt_osmosis_llm.evidence.node import EPHEMERAL_PREFIX
from dbt_osmosis_llm.host import descriptions
from dbt_osmosis_llm.llm.redaction import redact_secrets

DOC_REFERENCE = re.compile(
    r"\{\{-?\s*doc\(\s*['\"]([^'\"]+)['\"]\s*(?:,\s*['\"]([^'\"]+)['\"]\s*)?\)\s*-?\}\}"
)
JINJA = re.compile(r"\{[{%#]")
HOST_META = re.compile(r"dbt[-_]osmosis|osmosis_", re.IGNORECASE)
"""Keys under which dbt-osmosis keeps its own settings and notes."""

_TABLES = ("model", "seed", "source", "snapshot")


class Nodes:
    """The models, seeds, sources and snapshots of a project and its packages.

    Args:
        context: Of dbt-osmosis, the project loaded.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._manifest = context.project.manifest

    @cached_property
    def by_id(self) -> dict[str, Any]:
        """Each table by its unique id."""
        nodes = {**self._manifest.nodes, **self._manifest.sources}
        return {uid: n for uid, n in nodes.items() if n.resource_type in _TABLES}

    def parents(self, node: Any) -> list[str]:
        """Return the tables that a node names."""
        depends_on = getattr(node, "depends_on_nodes", None) or ()
        return [uid for uid in depends_on if uid in self.by_id]

    def tables_read(self, node: Any) -> dict[str, Any]:
        """Return the tables that a node reads, and what ephemeral ones among them read."""
        tables: dict[str, Any] = {}
        open_ids = list(reversed(self.parents(node)))
        seen: set[str] = set()
        while open_ids:
            uid = open_ids.pop()
            if uid in seen:
                continue
            seen.add(uid)
            tables[uid] = self.by_id[uid]
            if is_ephemeral(tables[uid]):
                open_ids.extend(reversed(self.parents(tables[uid])))
        return tables

    def lacks_text(self, text: str | None) -> bool:
        """Tell whether a description is empty or a placeholder."""
        return descriptions.lacks_text(self._context, text)

    def readable(self, text: str | None) -> str:
        """Return a text as people read it, empty where it has none that a model could read.

        With ``use-unrendered-descriptions`` dbt-osmosis keeps ``{{ doc('x') }}`` as it stands.
        """
        if text is None or self.lacks_text(text):
            return ""
        rendered = DOC_REFERENCE.sub(self._doc_block, text)
        return "" if JINJA.search(rendered) else rendered

    def _doc_block(self, reference: re.Match[str]) -> str:
        package, name = (reference[1], reference[2]) if reference[2] else (None, reference[1])
        for block in self._manifest.docs.values():
            if block.name == name and package in (None, block.package_name):
                return str(block.block_contents)
        return reference[0]


def is_ephemeral(node: Any) -> bool:
    """Tell whether a model is no table of its own, but a part of the queries that read it."""
    return getattr(node.config, "materialized", None) == "ephemeral"


def display_name(node: Any) -> str:
    """Return what people call a table: with its source or version."""
    source, version = getattr(node, "source_name", None), getattr(node, "version", None)
    if version is not None:
        return f"{node.name}.v{version}"
    return f"{source}.{node.name}" if source else str(node.name)


def relation_of(node: Any) -> str:
    """Return how compiled SQL names a table, without quotes."""
    if is_ephemeral(node):
        return f"{EPHEMERAL_PREFIX}{node.name}"  # no real table has this name
    return re.sub(r'["`\[\]]', "", node.relation_name or node.name)


def patch_file(node: Any) -> str:
    """Return the YAML file that describes a node in its own project, empty when none does."""
    if node.resource_type == "source":
        return str(node.original_file_path)
    return str(getattr(node, "patch_path", None) or "").rpartition("://")[2]


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, else its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def on_one_line(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Return all that an error says: with dbt, the first line tells only where it happened.

    Args:
        error: Of dbt, an adapter or a driver.
        secrets: What must not be shown, beside what looks like a key.
    """
    return redact_secrets(" ".join(str(error).split()), secrets) or type(error).__name__
