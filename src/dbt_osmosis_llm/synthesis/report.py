"""What became of a run, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dbt_osmosis_llm.llm.exceptions import LLMError
from dbt_osmosis_llm.synthesis.checks import Complaint


def no_warehouse(reason: str) -> str:
    """Return what is said of a warehouse that cannot be reached."""
    return (
        f"The warehouse cannot be reached ({reason.rstrip('.')}). Columns and types are those of "
        "YAML, catalog and SQL; run again when it answers."
    )


@dataclass
class NodeOutcome:
    """What became of one node that lacked texts."""

    node_id: str
    description_written: bool = False
    description_unknown: bool = False
    generated: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()
    """By dbt-osmosis, by name."""
    copied: tuple[str, ...] = ()
    """From the columns that they are, by lineage."""
    unknown: tuple[str, ...] = ()
    """Left empty: the model answered null."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Left empty: column, or an empty name for the table's own text, to what is wrong with it."""
    unanswered: tuple[str, ...] = ()
    """Left empty: the answer has no text for them; the next run asks again."""
    waiting: tuple[str, ...] = ()
    """Left empty: they come from a node that failed."""
    complaints: tuple[Complaint, ...] = ()
    """What a check finds wrong with the generated texts."""
    asked: int = 0
    """Texts asked for."""
    error: LLMError | None = None

    @property
    def failed(self) -> int:
        """Return how many texts an error left without an answer."""
        if self.error is None:
            return 0
        answered = self.description_written + self.description_unknown
        left = self.asked - answered - len(self.generated) - len(self.unknown)
        return left - len(self.refused)


@dataclass
class RunReport:
    """What became of a run."""

    outcomes: list[NodeOutcome] = field(default_factory=list)
    selected: int = 0
    """Nodes looked at."""
    not_written: dict[str, list[str]] = field(default_factory=dict)
    """File that could not be written to the nodes whose texts it should have got."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """File that cannot be changed safely, to the reason; nothing was asked for it."""
    not_read: dict[str, str] = field(default_factory=dict)
    """Table whose SQL our reader failed on, to the failure; it was documented without lineage."""
    not_compiled: dict[str, str] = field(default_factory=dict)
    """Model whose SQL was read as it is written, to why it does not compile; no lineage then."""
    no_warehouse: str = ""
    """Why the warehouse could not be reached; empty where it could, or was not asked."""
    without_path: list[str] = field(default_factory=list)
    """Lines about the tables that have no YAML file, and what to do."""
    not_there: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Table to the columns without a text that its YAML alone has; nothing was asked for them."""
    not_built: list[str] = field(default_factory=list)
    """Tables that are not in the warehouse: the columns that their YAML lists are all there is."""
    warehouse: str = ""
    """Which one it was looked at, as people know it, without secrets."""
    unmatched: list[str] = field(default_factory=list)
    """What of the selection matches no table."""
    with_older_prompts: int = 0
    """Texts of ours that a refresh left as they are, and that other prompts have brought."""
    stopped_by: LLMError | None = None
    """Why no further node was asked."""
    not_asked: int = 0
    """Nodes that still lack texts because the run stopped."""
    texts_not_asked: int = 0
    abandoned: int = 0
    """Requests that a stop did not wait for: what they used is not known."""
    seconds: float = 0.0

    @property
    def node_ids_with_texts(self) -> list[str]:
        """Return the nodes that got generated texts."""
        return [o.node_id for o in self.outcomes if o.description_written or o.generated]

    @property
    def failures(self) -> list[NodeOutcome]:
        """Return the nodes whose request failed."""
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    @property
    def has_failures(self) -> bool:
        """Tell whether a node failed or a file was not written."""
        return bool(self.failures or self.not_written or self.left_alone or self.without_path)
