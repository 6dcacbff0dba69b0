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
from dbt_osmosis_llm.host import compat, unrendered
from dbt_osmosis_llm.host.minimal_writing import MinimalWriting


@contextmanager
def seeing_what_is_written(writing: MinimalWriting) -> Iterator[None]:
    """Stand in for what dbt-osmosis's commands ask, as long as this is open.

    Args:
        writing: Hears which texts hold Jinja.
    """

    def before_the_passes(host: Callable[..., Any]) -> Callable[..., Any]:
        def run(pipeline: Any, context: Any, node: Any = None) -> Any:
            writing.with_jinja = unrendered.put_back(context)
            return host(pipeline, context, node)

        return run

    with ExitStack() as stack:
        stack.enter_context(compat.standing_in(compat.PIPELINE_HOOK, before_the_passes))
        stack.enter_context(compat.standing_in(compat.GET_COLUMNS_HOOK, _spelled_as_written))
        yield


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
        spelled: dict[str, str] = {}
        for name in (compat.normalized_name(context, name) for name in written):
            if name not in found:
                spelled.setdefault(plain_name(name), name)
        times = Counter(map(plain_name, found))
        return type(found)(
            (spelled.get(plain_name(name), name), column)
            if times[plain_name(name)] == 1 and not _is_written(context, name, written)
            else (name, column)
            for name, column in found.items()
        )

    return get_columns


def _is_written(context: Any, name: str, written: Mapping[str, Any]) -> bool:
    return any(compat.normalized_name(context, other) == name for other in written)
