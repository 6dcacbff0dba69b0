"""Opens a project outside dbt-osmosis's own commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dbt_osmosis.core import logger as host_logger
from dbt_osmosis.core.config import (
    DbtConfiguration,
    create_dbt_project_context,
    discover_profiles_dir,
)
from dbt_osmosis.core.settings import YamlRefactorContext, YamlRefactorSettings

from dbt_osmosis_llm.host.nodes import on_one_line
from dbt_osmosis_llm.llm.exceptions import LLMConfigError


@contextmanager
def open_context(
    project_dir: str,
    *,
    profiles_dir: str | None = None,
    profile: str | None = None,
    target: str | None = None,
    variables: Mapping[str, Any] | None = None,
    catalog_path: str | None = None,
    disable_introspection: bool = False,
    log_level: str = "ERROR",
    models: Sequence[str] = (),
    fqn: Sequence[str] = (),
) -> Iterator[Any]:
    """Give a context as ``dbt-osmosis yaml document --dry-run`` has it.

    Raises:
        LLMConfigError: dbt cannot load the project.
    """
    host_logger.set_log_level(log_level)
    configuration = DbtConfiguration(
        project_dir=project_dir,
        profiles_dir=profiles_dir or discover_profiles_dir(project_dir),
        profile=profile,
        target=target,
        vars=dict(variables or {}),
        disable_introspection=disable_introspection,
    )
    try:
        project = create_dbt_project_context(configuration)
    except Exception as error:  # noqa: BLE001  # parsers and adapters raise whatever they like
        said = on_one_line(error)
        raise LLMConfigError(f"dbt cannot load the project in {project_dir}: {said}") from None
    settings = YamlRefactorSettings(
        dry_run=True, catalog_path=catalog_path, models=list(models), fqn=list(fqn)
    )
    with YamlRefactorContext(project=project, settings=settings) as context:
        yield context
