"""Opens a project outside dbt-osmosis's own commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.host import compat, passes
from dbt_osmosis_llm.host.nodes import on_one_line
from dbt_osmosis_llm.host.warehouse import CLOSED, Warehouse
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.synthesis.report import no_warehouse

_READ_BY_DBT = (".yml", ".yaml", ".sql", ".py", ".md", ".csv")
_MOST_NAMED = 3


def decoding_failure(project_dir: str, error: UnicodeDecodeError) -> str:
    """Return which files dbt could not read, in one line: it does not say so itself."""
    wrong = []
    for folder, folders, names in os.walk(project_dir):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in ("target", "logs", "node_modules")
            and not Path(folder, name, "pyvenv.cfg").exists()
        )
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix in _READ_BY_DBT:
                try:
                    path.read_bytes().decode()
                except UnicodeDecodeError:
                    wrong.append(str(path))
                except OSError:
                    continue
    where = ", ".join(wrong[:_MOST_NAMED]) or "a file of the project"
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    return f"dbt reads UTF-8 alone, and {where}{more} is not: {error.reason}. Save it as UTF-8."


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

    With `disable_introspection` no connection is opened, whatever a model's Jinja wants to ask.

    Raises:
        LLMConfigError: dbt cannot load the project.
    """
    if not Path(project_dir, "dbt_project.yml").is_file():
        raise LLMConfigError(
            f"There is no dbt_project.yml in {Path(project_dir).absolute()}; go to a dbt project "
            "or name its folder with --project-dir."
        )
    project_dir = str(Path(project_dir).absolute())
    compat.set_log_level(log_level)
    configuration = compat.configuration(
        project_dir=project_dir,
        profiles_dir=profiles_dir or compat.discover_profiles_dir(project_dir),
        profile=profile,
        target=target,
        vars=dict(variables or {}),
        disable_introspection=disable_introspection,
    )
    warehouse = Warehouse(CLOSED if disable_introspection else "")
    with warehouse.in_place(), compat.without_false_circles():
        try:
            project = compat.open_project(configuration)
        except UnicodeDecodeError as error:
            raise LLMConfigError(decoding_failure(project_dir, error)) from None
        except Exception as error:  # noqa: BLE001  # parsers and adapters raise whatever they like
            said = on_one_line(error)
            raise LLMConfigError(f"dbt cannot load the project in {project_dir}: {said}") from None
        settings = compat.refactor_settings(
            dry_run=True, catalog_path=catalog_path, models=list(models), fqn=list(fqn)
        )
        with compat.refactor_context(project=project, settings=settings) as context:
            passes.read_as_written(context)
            yield context
            if warehouse.failure:
                logger.error("%s", no_warehouse(warehouse.failure))
