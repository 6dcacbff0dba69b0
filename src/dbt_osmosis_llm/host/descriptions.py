"""The descriptions of nodes: in dbt's objects and in the documents that dbt-osmosis writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.writing import EntryPath, step_to


def lacks_text(context: Any, text: str | None) -> bool:
    """Tell whether a description is empty, blank or one of dbt-osmosis's placeholders."""
    return text is None or not text.strip() or text.strip() in context.placeholders


def is_written(context: Any, node: Any) -> bool:
    """Tell whether dbt-osmosis's sync writes a node: those of other packages it never does."""
    return bool(node.package_name == context.project.runtime_cfg.project_name)


def lists_all_columns(context: Any, node: Any) -> bool:
    """Tell whether dbt-osmosis adds the columns that a node's YAML does not list."""
    settings = context.settings
    skip = compat.resolve_setting(
        context, "skip-add-columns", node=node, fallback=settings.skip_add_columns
    )
    if not skip and node.resource_type == "source":
        skip = compat.resolve_setting(
            context, "skip-add-source-columns", node=node, fallback=settings.skip_add_source_columns
        )
    return not skip


def may_inherit(context: Any, node: Any, column: str) -> bool:
    """Tell whether dbt-osmosis's settings let a column take another one's text over."""
    return not compat.resolve_setting(
        context,
        "skip-inherit-descriptions",
        node=node,
        col=column,
        fallback=context.settings.skip_inherit_descriptions,
    )


def written_name(context: Any, node: Any, column: str) -> str:
    """Return a column's name as dbt-osmosis's sync writes it."""
    for setting, case, fallback in (
        ("output-to-upper", str.upper, context.settings.output_to_upper),
        ("output-to-lower", str.lower, context.settings.output_to_lower),
    ):
        if compat.resolve_setting(context, setting, node=node, col=column, fallback=fallback):
            return case(column)
    return column


def target_path(context: Any, node: Any) -> Path:
    """Return the YAML file that dbt-osmosis's sync writes a node to."""
    path: Path = compat.yaml_paths(context, node)[1]
    return path


def write_nodes(context: Any, nodes: Sequence[Any]) -> None:
    """Write all nodes of one YAML file to it now, by dbt-osmosis's own sync.

    It goes through a temporary file and a rename: the file is whole at any moment.
    """
    if len(nodes) == 1:
        compat.write_node(context, nodes[0], commit=True)
    else:
        compat.write_node_group(context, list(nodes), commit=True)


def apply_texts(
    context: Any, node: Any, description: str | None, columns: Mapping[str, str]
) -> None:
    """Set the texts of a node and its columns; the next sync writes them.

    Args:
        context: dbt-osmosis's refactor context.
        node: A model, source table or seed of the manifest.
        description: The node's own text, None to leave it as it is.
        columns: Column name, exactly as in the node, to text.
    """
    for name, text in columns.items():
        node.columns[name].description = text
    if description is None:
        return
    # The sync keeps any description that the file has: a placeholder, or a text of ours.
    current_path, target_path = compat.yaml_paths(context, node)
    document = compat.yaml_document(context, node, current_path)
    section = _section_of(node, document)
    if section is not None and section.get("description"):
        section["description"] = description
        compat.mark_yaml_caches_dirty(target_path)
    node.description = description


def _section_of(node: Any, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the part of a YAML document that describes a node, None when it has none yet."""
    if node.resource_type == "source":
        tables = _source_of(node, document).get("tables") or ()
        return next((table for table in tables if table.get("name") == node.name), None)
    entry = _entry_of(node, document)
    version = getattr(node, "version", None)
    if entry is None or version is None:
        return entry
    versions = entry.get("versions") or ()
    return next((v for v in versions if str(v.get("v")) == str(version)), None)


def _source_of(node: Any, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a YAML document about a table's source, empty when it has none."""
    sources = document.get("sources") or []
    source = next((s for s in sources if s.get("name") == node.source_name), None)
    if source is None:  # its name is Jinja
        source, _ = compat.source_by_table(
            sources,
            table_name=node.name,
            table_identifier=node.identifier,
            schema_name=node.schema,
            database_name=node.database,
        )
    return source or {}


def _entry_of(node: Any, document: Mapping[str, Any]) -> dict[str, Any] | None:
    entries = document.get(compat.resource_type_key(node)) or ()
    return next((entry for entry in entries if entry.get("name") == node.name), None)


def yaml_document(context: Any, node: Any) -> Mapping[str, Any]:
    """Return what the YAML file that describes a node holds, as dbt has read it; empty for none."""
    path = getattr(node, "patch_path", None)
    if node.resource_type in ("source", "test"):
        path = f"{node.package_name}://{node.original_file_path}"
    file = context.project.manifest.files.get(path) if path else None
    return getattr(file, "dict_from_yaml", None) or {}


def source_section(context: Any, node: Any) -> Mapping[str, Any]:
    """Return what the YAML file of a source table says of its source."""
    return _source_of(node, yaml_document(context, node))


def yaml_sections(context: Any, node: Any) -> list[Mapping[str, Any]]:
    """Return what the YAML file of a node says of it: its own, then what holds for all versions."""
    document = yaml_document(context, node)
    sections: list[Mapping[str, Any]] = [_section_of(node, document) or {}]
    if getattr(node, "version", None) is not None:
        sections.append(_entry_of(node, document) or {})  # versions take over what it says
    return sections


def left_out(context: Any, node: Any, twice: Mapping[EntryPath, Sequence[Any]]) -> dict[str, str]:
    """Return what of a node's YAML cannot be told apart or is not ours to write, with the reason.

    Args:
        context: dbt-osmosis's refactor context.
        node: A model, source table or seed of the manifest.
        twice: What its file holds more than once, see `writing.doubled`.

    Returns:
        Plain column name to the reason; with an empty name nothing of the node is written.
    """
    patch = str(getattr(node, "patch_path", None) or "").partition("://")
    if patch[0] and patch[2] and patch[0] != node.package_name and is_written(context, node):
        return {
            "": f"its entry stands in the package {patch[0]} ({patch[2]}), which is not written"
        }
    if not twice:
        return {}
    paths = entry_paths(node)
    for path in paths:
        for end in range(1, len(path) + 1):
            if path[:end] in twice:
                return {"": f"{_named(path[end - 1])} is listed {_times(twice[path[:end]])}"}
    reasons = {}
    for place, names in twice.items():
        key, name = place[-1]
        if key == "columns" and place[:-1] in paths:
            reasons[plain_name(name)] = (
                f"column {names[0]} of {node.name} is listed {_times(names)}"
            )
    return reasons


def entry_paths(node: Any) -> list[EntryPath]:
    """Return where a node's entry stands in its file, that of its model before its version's."""
    if node.resource_type == "source":
        return [(step_to("sources", node.source_name), step_to("tables", node.name))]
    entry = (step_to(compat.resource_type_key(node), node.name),)
    version = getattr(node, "version", None)
    return [entry] if version is None else [entry, (*entry, step_to("versions", version))]


def _named(step: tuple[str, str]) -> str:
    return f"{step[0].removesuffix('s')} {step[1]}"


def _times(names: Sequence[Any]) -> str:
    times = "twice" if len(names) == 2 else f"{len(names)} times"
    spellings = list(dict.fromkeys(map(str, names)))
    return times if len(spellings) == 1 else f"{times}, as {' and '.join(spellings)}"


def yaml_texts(context: Any, node: Any) -> dict[str, str]:
    """Return the texts of a node as its YAML file has them, references to doc blocks included.

    dbt keeps the parsed YAML in the manifest, so no file is read again.

    Returns:
        Lower-case column name to text; the empty name stands for the node itself.
    """
    found: dict[str, str] = {}
    for section in yaml_sections(context, node):
        _take_text(found, "", section)
        for column in section.get("columns") or ():
            if isinstance(column, Mapping):
                _take_text(found, plain_name(str(column.get("name"))), column)
    return found


def _take_text(found: dict[str, str], name: str, section: Mapping[str, Any]) -> None:
    if not found.get(name):
        found[name] = str(section.get("description") or "")


def described_columns(context: Any, node: Any) -> set[str]:
    """Return the lower-case names of the columns that the node's YAML file gives a text."""
    texts = yaml_texts(context, node).items()
    return {name for name, text in texts if name and not lacks_text(context, text)}
