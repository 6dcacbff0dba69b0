"""Values of YAML files that are Jinja: kept as they are written, never as dbt has rendered them.

dbt's nodes hold what ``{{ env_var('SALT') }}`` stands for today: dbt-osmosis would inherit it into
other files, and a prompt would show it to a provider. Both see what the file says instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.host import descriptions
from dbt_osmosis_llm.host.nodes import DOC_REFERENCE, HOST_META, JINJA, Nodes
from dbt_osmosis_llm.writing.reconcile import plain

_RAW = re.compile(r"\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}", re.DOTALL)


def put_back(context: Any) -> frozenset[str]:
    """Let dbt's nodes hold Jinja as their files have it, before anything inherits from them.

    What stands in a package means something in that package alone: there the value is taken out.
    References to doc blocks and raw blocks stay rendered: they are texts.

    Args:
        context: Of dbt-osmosis, the project loaded.

    Returns:
        The descriptions that hold Jinja now, as they may be written anywhere in the project.
    """
    texts: set[str] = set()
    has_jinja: dict[int, bool] = {}
    for node in Nodes(context).by_id.values():
        document = descriptions.yaml_document(context, node)
        if id(document) not in has_jinja:
            has_jinja[id(document)] = _is_rendered(document)
        if has_jinja[id(document)]:
            is_ours = descriptions.is_written(context, node)
            texts.update(_put_back(context, node, is_ours=is_ours))
    return frozenset(texts)


def _is_rendered(value: Any) -> bool:
    """Tell whether dbt renders something of a value, other than texts of people's."""
    if isinstance(value, str):
        return bool(
            JINJA.search(value) and JINJA.search(DOC_REFERENCE.sub("", _RAW.sub("", value)))
        )
    if isinstance(value, Mapping):
        return any(map(_is_rendered, value.values()))
    return isinstance(value, Sequence) and any(map(_is_rendered, value))


def _put_back(context: Any, node: Any, *, is_ours: bool) -> Iterator[str]:
    sections = descriptions.yaml_sections(context, node)
    for section in sections:
        yield from _describe(node, "description", section, is_ours=is_ours)
    if node.resource_type == "source":
        source = descriptions.source_section(context, node)
        yield from _describe(node, "source_description", source, is_ours=is_ours)
    columns = {plain_name(name): column for name, column in node.columns.items()}
    columns |= node.columns  # to the letter first: others may differ by case alone
    # The first of them is the node's own, which goes before what a model says of all versions.
    for section in reversed(sections):
        for raw in section.get("columns") or ():
            if not isinstance(raw, Mapping):
                continue
            name = str(raw.get("name"))
            column = columns.get(name) or columns.get(plain_name(name))
            if column is not None:
                yield from _describe(column, "description", raw, is_ours=is_ours)
                _put_back_column(column, raw, is_ours=is_ours)


def _describe(
    owner: Any, attribute: str, section: Mapping[str, Any], *, is_ours: bool
) -> Iterator[str]:
    text = section.get("description")
    if isinstance(text, str) and _is_rendered(text):
        setattr(owner, attribute, str(text) if is_ours else "")
        if is_ours:
            yield str(text)


def _put_back_column(column: Any, raw: Mapping[str, Any], *, is_ours: bool) -> None:
    """Let meta and tags of a column be those of its file, wherever dbt keeps them."""
    config = raw.get("config")
    sections = [raw, *([config] if isinstance(config, Mapping) else [])]
    metas = [section.get("meta") for section in sections]
    # An option of dbt-osmosis's is read, not inherited.
    rendered = {
        key: plain(value)
        for meta in metas
        if isinstance(meta, Mapping)
        for key, value in meta.items()
        if _is_rendered(value) and not HOST_META.match(str(key))
    }
    tags = [tag for section in sections for tag in _listed(section.get("tags"))]
    kept = [tag for tag in tags if is_ours or not _is_rendered(tag)]
    for holder in _holders(column):
        if rendered and holder.get("meta") is not None:
            others = {k: v for k, v in holder["meta"].items() if k not in rendered}
            holder["meta"] = {**others, **(rendered if is_ours else {})}
        if _is_rendered(tags) and holder.get("tags") is not None:
            holder["tags"] = kept


def _holders(column: Any) -> list[dict[str, Any]]:
    """Return all that holds meta and tags of a column."""
    holders = [vars(column)]
    if (config := getattr(column, "config", None)) is not None:
        holders.append(vars(config))
    # Where dbt before 1.10 keeps the config of a column.
    config = (getattr(column, "_extra", None) or {}).get("config")
    return [*holders, config] if isinstance(config, dict) else holders


def _listed(tags: Any) -> list[str]:
    return [tags] if isinstance(tags, str) else [str(tag) for tag in tags or ()]


class Literals:
    """Tells values that stand in a project's files from those that dbt has worked out.

    Args:
        context: Of dbt-osmosis, the project loaded.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._strings: dict[int, tuple[Any, frozenset[str]]] = {}

    @cached_property
    def _project_file(self) -> str:
        path = Path(self._context.project.runtime_cfg.project_root, "dbt_project.yml")
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def stands(self, value: str, node: Any) -> bool:
        """Tell whether a setting of a node, or of a test of a file's, is written out somewhere."""
        return (
            value in self._project_file
            or value in str(getattr(node, "raw_code", None) or "")
            or value in self._in_yaml(node)
        )

    def _in_yaml(self, node: Any) -> frozenset[str]:
        document = descriptions.yaml_document(self._context, node)
        # Kept, so that its id is no other's.
        if id(document) not in self._strings:
            self._strings[id(document)] = document, frozenset(_strings(document))
        return self._strings[id(document)][1]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield str(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
