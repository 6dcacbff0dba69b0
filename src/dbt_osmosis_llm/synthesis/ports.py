"""A project as the engine and the inspection see it; `dbt_osmosis_llm.host` implements both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dbt_osmosis_llm.evidence.node import ColumnUse, NodeEvidence
from dbt_osmosis_llm.synthesis.copying import Copy
from dbt_osmosis_llm.synthesis.freshness import Findings
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts


class Project(Protocol):
    """What a run needs of a project."""

    def node_ids(self) -> Sequence[str]:
        """Return the selected nodes, parents before children."""
        ...

    def parents(self, node_id: str) -> set[str]:
        """Return the nearest selected nodes upstream of a node."""
        ...

    def ancestors(self, node_id: str) -> set[str]:
        """Return all nodes upstream of a node."""
        ...

    def tables_read(self, node_id: str) -> Sequence[str]:
        """Return the nodes whose texts `evidence` holds, selected or not."""
        ...

    def twins(self, node_id: str) -> Sequence[str]:
        """Return the nodes with which a node may have texts in common: see `share`."""
        ...

    def inheritable_names(self, node_id: str) -> set[str]:
        """Return the names, in lower case, of upstream columns whose texts `inherit` may take."""
        ...

    def unsettled_names(self, node_id: str) -> set[str]:
        """Return the names, in lower case, of the columns whose texts may still change."""
        ...

    def may_change(self, node_id: str) -> bool:
        """Tell whether texts of a node may still change though nothing is missing.

        By `inherit`, where the project wants texts replaced, or by `share`.
        """
        ...

    def missing(self, node_id: str) -> Missing:
        """Return the texts that a node lacks now."""
        ...

    def inherit(self, node_id: str, keep_out: Collection[str] = ()) -> None:
        """Take texts over from upstream columns of the same name, by dbt-osmosis's own rules.

        Args:
            node_id: Of a selected node.
            keep_out: Columns that take none.
        """
        ...

    def copy(self, node_id: str, copies: Sequence[Copy]) -> tuple[str, ...]:
        """Take texts over; return the columns that dbt-osmosis's settings let have them."""
        ...

    def share(self, node_id: str) -> tuple[str, ...]:
        """Take texts over from `twins` that have them by now; return the columns.

        That are columns of other versions of a model, and those whose entry in a file is one.
        """
        ...

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        """Return the columns that have a text now and have none in their YAML file."""
        ...

    def evidence(self, node_id: str) -> NodeEvidence:
        """Return all that is known of a node."""
        ...

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take generated texts into the node, to be written with it."""
        ...

    def finish(self, node_id: str) -> None:
        """Hear that nothing will change in a node any more."""
        ...


class Rehearsal(Project, Protocol):
    """A project in which a run over all that leads to one table takes place, and leaves nothing."""

    def prepare(self) -> None:
        """Add, inherit and sort columns, as it is done before a run begins."""
        ...


@dataclass(frozen=True)
class TextPlace:
    """Where a text stands that people wrote, or that an earlier run has written."""

    file: str
    """YAML file, from the project's folder."""
    doc: str = ""
    """Doc block that it names, and that one's file."""


class Inspection(Protocol):
    """What a look at a project needs beside `Project`, without asking or writing anything."""

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return what people call each table of the project and its packages, by unique id."""
        ...

    def why_not_selected(self, node_id: str) -> str:
        """Return why a node is left out, empty for one that is documented."""
        ...

    def why_left_out(self, node_id: str, column: str = "") -> str:
        """Return why a text that is missing is not asked for, empty where that is not so."""
        ...

    def compile_error(self, node_id: str) -> str:
        """Return why a model's SQL, as `evidence` has it, is not compiled; else an empty text."""
        ...

    def yaml_file(self, node_id: str) -> str:
        """Return the YAML file for a node's texts, empty when there is none."""
        ...

    def line(self, node_id: str, column: str = "") -> int | None:
        """Return the line, from 1, of an entry in its YAML file, None for one that has none."""
        ...

    def text_place(self, node_id: str, column: str = "") -> TextPlace | None:
        """Return where the text of a node or a column stands, None for one that no file has."""
        ...

    def is_unknown(self, node_id: str, column: str) -> bool:
        """Tell whether the model could not write a text before, and nothing has changed since.

        Args:
            node_id: Of the table.
            column: Its column, or an empty name for the table's own text.
        """
        ...

    def uses(self, node_id: str, column: str) -> Sequence[ColumnUse]:
        """Return where a column stands downstream, and what models make of it."""
        ...

    def findings(self) -> Iterator[Findings]:
        """Yield what is wrong with the texts of each selected table, without a model."""
        ...

    def orphaned_nodes(self) -> list[str]:
        """Return the tables with texts of ours that do not exist any more."""
        ...
