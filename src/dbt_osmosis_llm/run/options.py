"""From settings to the arguments of the parts that they decide."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from dbt_osmosis_llm.config import Settings
from dbt_osmosis_llm.evidence.fingerprint import hash_of
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.stack import price_of
from dbt_osmosis_llm.synthesis.lock import LOCK_NAME, LockFile
from dbt_osmosis_llm.synthesis.prompts import Prompts, dump_prompts


def engine_options(settings: Settings, config: LLMConfig) -> dict[str, Any]:
    """Return the arguments of `Engine` that decide what is asked and how."""
    return {
        **settings.of("Engine"),
        "copies": not settings.no_copy,
        # Asked when there is something to ask: the list of models takes half a second to load.
        "context_window": lambda: settings.context_window or price_of(config).context_window(),
    }


def project_options(
    root: str, settings: Settings, config: LLMConfig, prompts: Prompts
) -> dict[str, Any]:
    """Return the arguments of a project that decide what is asked and whose a text is.

    Args:
        root: The project's folder, where its lock file lies.
        settings: Of the run.
        config: Whom it asks.
        prompts: Of the run.
    """
    text = StringIO()
    # As a prompt file, which has all that changes a prompt.
    dump_prompts(prompts, text)
    return {
        "sample": settings.sample,
        "lock": LockFile(Path(root, LOCK_NAME)),
        "model": config.model,
        "prompts": hash_of(text.getvalue()),
        "use_answers": uses_answers(settings, config),
    }


def uses_answers(settings: Settings, config: LLMConfig) -> bool:
    """Tell whether what was asked before is not asked again."""
    # The offline provider costs nothing and gets better with each version.
    return config.provider != "offline" and not settings.no_cache
