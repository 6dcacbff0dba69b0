"""Texts of ours that serve several columns, written once: ``{% docs %}`` blocks in one file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dbt_osmosis_llm.evidence.fingerprint import text_hash
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.host import descriptions
from dbt_osmosis_llm.host.provenance import Provenance

_FILE = "dbt_osmosis_llm.md"
_BLOCK = re.compile(
    r"\{%-?\s*docs\s+(?P<name>\w+)\s*-?%\}(?P<text>.*?)\{%-?\s*enddocs\s*-?%\}", re.DOTALL
)
_LEAST_COLUMNS = 3
_PREFIX = "llm_"


class Shared(NamedTuple):
    """A text and the columns that have it."""

    text: str
    columns: list[tuple[str, str]]
    """Unique id of the table, and name."""


class DocsBlocks:
    """The file of a project that holds the blocks.

    Args:
        context: Of dbt-osmosis, the project loaded.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        config = context.project.runtime_cfg
        # Unless it says otherwise a project's docs may stand in any of its folders.
        docs, models = list(config.docs_paths or ()), list(config.model_paths or ())
        folders = [folder for folder in models if folder in docs] or docs or models or ["models"]
        self._path = Path(config.project_root, folders[0], _FILE)
        self._content = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""

    def references(self) -> dict[str, str]:
        """Return each reference to a block, as it stands in YAML, with the block's text."""
        found = _BLOCK.finditer(self._content)
        return {reference(block["name"]): block["text"].strip() for block in found}

    def share(self, nodes: Mapping[str, Any], provenance: Provenance) -> None:
        """Write texts that several columns have once, and let the columns refer to them.

        dbt-osmosis's sync writes the references, after the blocks.

        Args:
            nodes: Unique id to node, those of the run.
            provenance: Knows which texts are ours.
        """
        before = self._content
        for shared in _shared(nodes.values(), provenance):
            name = self._name_for(shared, nodes)
            for node_id, column in shared.columns:
                nodes[node_id].columns[column].description = reference(name)
        if self._content != before:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(self._content, encoding="utf-8")

    def _name_for(self, shared: Shared, nodes: Mapping[str, Any]) -> str:
        """Return the block that has a text, made if there is none."""
        known = {block["name"]: block for block in _BLOCK.finditer(self._content)}
        for name, block in known.items():
            if text_hash(block["text"].strip()) == text_hash(shared.text):
                return name
        names = Counter(re.sub(r"\W", "_", column.lower()) for _, column in shared.columns)
        base = f"{_PREFIX}{min(names, key=lambda name: (-names[name], name))}"
        taken = {block.name for block in self._context.project.manifest.docs.values()} | {*known}
        name, number = base, 1
        while name in taken:
            if name in known and not self._is_in_use(name, nodes):
                block = known[name]
                start, end = block.span("text")
                self._content = f"{self._content[:start]}\n{shared.text}\n{self._content[end:]}"
                return name
            number += 1
            name = f"{base}_{number}"
        separator = "\n" if self._content and not self._content.endswith("\n\n") else ""
        self._content += f"{separator}{{% docs {name} %}}\n{shared.text}\n{{% enddocs %}}\n"
        return name

    def _is_in_use(self, name: str, nodes: Mapping[str, Any]) -> bool:
        """Tell whether a table outside the run, or a column that keeps its text, names a block."""
        wanted = reference(name)
        text = self.references()[wanted]
        manifest = self._context.project.manifest
        for node_id, node in {**manifest.nodes, **manifest.sources}.items():
            for column, written in descriptions.yaml_texts(self._context, node).items():
                if written.strip() != wanted:
                    continue
                owner = next((c for n, c in node.columns.items() if plain_name(n) == column), node)
                if node_id not in nodes or owner.description in (text, wanted):
                    return True
        return False


def reference(name: str) -> str:
    """Return how a description names a block."""
    return f'{{{{ doc("{name}") }}}}'


def _shared(nodes: Iterable[Any], provenance: Provenance) -> list[Shared]:
    found: dict[str, Shared] = {}
    for node in nodes:
        for name, entry, text in provenance.ours(node):
            if name:
                shared = found.setdefault(entry.text, Shared(text, []))
                shared.columns.append((node.unique_id, name))
    return [shared for shared in found.values() if len(shared.columns) >= _LEAST_COLUMNS]
