"""Changes the text of YAML files: text and wanted data in, new text out; knows nothing of dbt."""

from dbt_osmosis_llm.writing.patch import UnsafeYamlError, check, patched
from dbt_osmosis_llm.writing.reconcile import LISTS, reconciled

__all__ = ["LISTS", "UnsafeYamlError", "check", "patched", "reconciled"]
