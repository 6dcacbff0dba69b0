"""What dbt-osmosis's passes over a project see: values and names as its files spell them.

Its passes compare names to the letter and inherit what dbt has rendered. While they run, what they
ask for is answered otherwise; what they do with it is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.host import compat, descriptions, unrendered
from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
from dbt_osmosis_llm.host.nodes import Nodes


@contextmanager
def seeing_what_is_written(writing: MinimalWriting) -> Iterator[None]:
    """Stand in for what dbt-osmosis's commands ask, as long as this is open.

    Args:
        writing: Hears which texts hold Jinja.
    """

    def before_the_passes(host: Callable[..., Any]) -> Callable[..., Any]:
        def run(pipeline: Any, context: Any, node: Any = None) -> Any:
            writing.with_jinja = read_as_written(context)
            writing.described = described(context)
            return host(pipeline, context, node)

        return run

    with ExitStack() as stack:
        stack.enter_context(compat.standing_in(compat.PIPELINE_HOOK, before_the_passes))
        stack.enter_context(compat.standing_in(compat.GET_COLUMNS_HOOK, _spelled_as_written))
        yield


def read_as_written(context: Any) -> frozenset[str]:
    """Let dbt's nodes say what their files say, before anything is made of them.

    Args:
        context: Of dbt-osmosis, the project loaded.

    Returns:
        The texts that hold Jinja, see `unrendered.put_back`.
    """
    for node in Nodes(context).by_id.values():
        if getattr(node, "version", None) is not None:
            _merge_spellings(context, node)
    return unrendered.put_back(context)


def described(context: Any) -> dict[str, set[str]]:
    """Return the names of the columns that have a text now, by unique id of the table.

    An empty name stands for the table itself.

    Not by the files: a process that runs twice keeps the nodes, and not what is in the files.
    """
    nodes = Nodes(context)
    return {
        uid: {
            name
            for name, owner in (("", node), *node.columns.items())
            if not nodes.lacks_text(owner.description)
        }
        for uid, node in nodes.by_id.items()
    }


def _merge_spellings(context: Any, node: Any) -> None:
    """Let a column that a version spells otherwise than its model be one column.

    dbt takes them for two, and where dbt-osmosis changes the case one would be written over the
    other.
    """
    entries = descriptions.yaml_sections(context, node)[0].get("columns") or ()
    own = [str(entry.get("name")) for entry in entries if isinstance(entry, Mapping)]
    spelled = {plain_name(name): name for name in own if name in node.columns}
    for name in list(node.columns):
        mine = spelled.get(plain_name(name), name)
        if mine != name and name not in own:
            of_model = node.columns.pop(name)
            if descriptions.lacks_text(context, node.columns[mine].description):
                node.columns[mine].description = of_model.description


def prepare(context: Any, nodes: list[Any]) -> None:
    """Let dbt-osmosis add, inherit and sort columns, as its command does before a run begins.

    Args:
        context: Of dbt-osmosis, the project loaded.
        nodes: Parents before children.
    """
    with compat.standing_in(compat.GET_COLUMNS_HOOK, _spelled_as_written):
        for _ in context.pool.map(partial(compat.inject_missing_columns, context), nodes):
            pass  # the pool: each of them may ask the warehouse
        for step in (compat.inherit_columns, compat.sort_columns):
            for node in nodes:
                step(context, node)


def _spelled_as_written(host: Callable[..., Any]) -> Callable[..., Any]:
    """Name the warehouse's columns as a table's YAML spells them, where each has one spelling.

    ``ORDER_ID`` there and ``order_id`` in the warehouse are one column: dbt-osmosis would add it
    a second time, or take the entry away that a person wrote.
    """

    def get_columns(context: Any, relation: Any) -> Any:
        found = host(context, relation)
        written = getattr(relation, "columns", None)
        if not isinstance(written, Mapping):
            return found  # no node, but a relation
        names = {compat.normalized_name(context, name): None for name in written}
        spelled: dict[str, str] = {}
        for name in names:
            if name not in found:
                spelled.setdefault(plain_name(name), name)
        times = Counter(map(plain_name, found))
        return type(found)(
            (spelled.get(plain_name(name), name), column)
            if times[plain_name(name)] == 1 and name not in names
            else (name, column)
            for name, column in found.items()
        )

    return get_columns
