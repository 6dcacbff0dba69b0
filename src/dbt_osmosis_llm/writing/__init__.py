"""Changes the text of YAML files: text and wanted data in, new text out; knows nothing of dbt."""

from dbt_osmosis_llm.writing.patch import UnsafeYamlError, check, patched, reads_as
from dbt_osmosis_llm.writing.places import lines
from dbt_osmosis_llm.writing.reconcile import LISTS, EntryPath, doubled, reconciled, step_to
from dbt_osmosis_llm.writing.rewriting import rewritten
from dbt_osmosis_llm.writing.sharing import shared
from dbt_osmosis_llm.writing.trial import refusals

__all__ = [
    "LISTS",
    "EntryPath",
    "UnsafeYamlError",
    "check",
    "doubled",
    "lines",
    "patched",
    "reads_as",
    "reconciled",
    "refusals",
    "rewritten",
    "shared",
    "step_to",
]
