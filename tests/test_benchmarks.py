"""The comparison with dbt-osmosis on a small project: counts and tokens, no times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clean_environment
from tests.limits import HANG_S

MODELS = 24


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The report and the figures of both tools; dbt-osmosis's from the plugin switched off."""
    directory = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/compare.py", "--no-demo", "--sizes", str(MODELS)),
            *("--repeats", "0", "--latency", "0.1"),
            *("--results", directory),
        ],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = (directory / "RESULTS.md").read_text()
    return report, json.loads((directory / "results.json").read_text())


@pytest.fixture(scope="module")
def runs(results: tuple[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    (project,) = results[1]["projects"]
    found: dict[str, dict[str, Any]] = project["runs"]
    return found


def test_the_plugin_does_what_readme_says_of_it(runs: dict[str, dict[str, Any]]) -> None:
    ours = runs["dbt-osmosis-llm"]
    assert ours["exit_code"] == 0
    assert ours["texts_missing"] == 0
    assert ours["requests"] == ours["model_requests"] == ours["with_sql"] == MODELS
    assert ours["refused"] == 0, "more requests than the limit allows"
    assert ours["order_violations"] == 0
    assert ours["with_expression"] == ours["with_upstream_texts"] == ours["derived"] > 0
    assert ours["same_text"] == ours["passed"] > 0
    # Half of the columns are passed on and 15 % renamed; the rest is asked for.
    assert ours["free"] == ours["passed"] == ours["undocumented"] - ours["derived"]
    assert ours["prompt_tokens"] < 2500 * MODELS


def test_dbt_osmosis_asks_more_and_says_less(runs: dict[str, dict[str, Any]]) -> None:
    # Also shows that each figure can tell the good from the bad.
    ours, theirs = runs["dbt-osmosis-llm"], runs["dbt-osmosis"]
    assert theirs["exit_code"] == 0
    assert theirs["texts_written"] == ours["texts_written"]
    assert theirs["requests"] > 2 * ours["requests"]
    assert theirs["completion_tokens"] > 2 * ours["completion_tokens"]
    assert theirs["cost_usd"] > ours["cost_usd"] > 0
    assert theirs["with_sql"] == theirs["with_expression"] == 0
    # How many are refused depends on how fast the machine asks: not looked at here.
    assert theirs["order_violations"] > 0
    assert theirs["same_text"] < theirs["passed"]
    assert theirs["free"] < ours["free"]


def test_the_report_says_how_it_was_made(results: tuple[str, dict[str, Any]]) -> None:
    report, figures = results
    assert figures["command"] in report
    for versions in figures["versions"].values():
        assert f"dbt-osmosis {versions['dbt-osmosis']}" in report
    for tool, run in figures["projects"][0]["runs"].items():
        assert f"{MODELS} models: {tool}" in report
        assert f"{run['prompt_tokens']:,}" in report
