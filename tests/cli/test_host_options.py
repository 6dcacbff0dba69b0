"""Every option of dbt-osmosis's that changes what stands in a file: run, check, run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from dbt_osmosis.core.settings import YamlRefactorSettings

from tests.conftest import build_project, copy_of
from tests.server import LoopbackServer

OPTIONS = {
    "skip_merge_meta": ["--skip-merge-meta"],
    "skip_add_columns": ["--skip-add-columns"],
    "skip_add_tags": ["--skip-add-tags"],
    "skip_add_data_types": ["--skip-add-data-types"],
    "skip_add_source_columns": ["--skip-add-source-columns"],
    "add_progenitor_to_meta": ["--add-progenitor-to-meta"],
    "numeric_precision_and_scale": ["--numeric-precision-and-scale"],
    "string_length": ["--string-length"],
    "force_inherit_descriptions": ["--force-inherit-descriptions"],
    "skip_inherit_descriptions": ["--skip-inherit-descriptions"],
    "use_unrendered_descriptions": ["--use-unrendered-descriptions"],
    "prefer_yaml_values": ["--prefer-yaml-values"],
    "skip_inheritance_for_meta_keys": ["--skip-inheritance-for-meta-keys", "unit"],
    "add_inheritance_for_specified_keys": ["--add-inheritance-for-specified-keys", "quote"],
    "output_to_lower": ["--output-to-lower"],
    "output_to_upper": ["--output-to-upper"],
    "scaffold_empty_configs": ["--scaffold-empty-configs"],
    "strip_eof_blank_lines": ["--strip-eof-blank-lines"],
    "fusion_compat": ["--no-fusion-compat"],
    "include_external": ["--include-external"],
}
ELSEWHERE = {
    "fqn": "a selection",
    "models": "a selection",
    "dry_run": "tests/cli/test_document.py",
    "catalog_path": "tests/cli/test_evidence.py",
    "create_catalog_if_not_exists": "no option of a command that documents",
    "formatter": "a command of the user's own",
}

pytestmark = pytest.mark.slow


def test_no_option_of_the_host_is_left_out() -> None:
    fields = {field.name for field in dataclasses.fields(YamlRefactorSettings)}
    assert fields == {*OPTIONS, *ELSEWHERE}


@pytest.fixture(scope="session")
def built_freight(made_once: Callable[..., Path]) -> Path:
    return made_once("freight", lambda directory: build_project("freight", directory))


@pytest.fixture(scope="session")
def built_observatory(made_once: Callable[..., Path]) -> Path:
    return made_once("observatory", lambda directory: build_project("observatory", directory))


CASES = [
    (project, option)
    for project in ("freight", "observatory")
    for option in OPTIONS
    # Its time spine names a column, which dbt-osmosis renames as it is told to: dbt cannot read it.
    if (project, option) != ("observatory", "output_to_upper")
]


@pytest.mark.parametrize(("project", "option"), CASES)
def test_a_run_with_an_option_is_complete(
    project: str,
    option: str,
    tmp_path: Path,
    server: LoopbackServer,
    request: pytest.FixtureRequest,
) -> None:
    built: Path = request.getfixturevalue(f"built_{project}")
    shop = copy_of(built, tmp_path, server)
    done = shop.document(*OPTIONS[option])
    assert done.returncode == 0, done.stderr
    assert server.requests
    written = shop.yaml_files()
    parsed = shop.dbt("parse", "--no-partial-parse", "--quiet")
    assert parsed.returncode == 0, parsed.stdout

    checked = shop.dbt_osmosis("llm", "check")
    assert checked.returncode == 0, checked.stdout

    server.reset()
    again = shop.document(*OPTIONS[option])
    assert again.returncode == 0, again.stderr
    assert [request.text[:300] for request in server.requests] == []
    assert shop.yaml_files() == written
