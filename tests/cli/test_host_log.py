"""What dbt-osmosis logs while a synthesizing run goes on."""

from __future__ import annotations

import pytest

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.host import compat
from tests.conftest import Shop

CIRCLE = "Circular dependency detected"


def test_a_diamond_is_no_circle(shop: Shop) -> None:
    models = shop.directory / "models/marts"
    for name in ("left", "right"):
        models.joinpath(f"{name}.sql").write_text("select * from {{ ref('int_order_payments') }}\n")
    models.joinpath("diamond.sql").write_text(
        "select l.* from {{ ref('left') }} as l join {{ ref('right') }} as r using (order_id)\n"
    )
    models.joinpath("_diamond.yml").write_text(
        "version: 2\nmodels: [{name: diamond, columns: [{name: order_id}]}]\n"
    )
    alone = shop.dbt_osmosis("yaml", "document", "--dry-run", "--fqn", "marts.diamond")
    assert CIRCLE in alone.stderr  # else the host has mended it, and nothing is left to do
    log = shop.directory.parent / ".dbt-osmosis/logs/dbt-osmosis.log"
    assert CIRCLE in log.read_text()
    log.write_text("")
    done = shop.document("--llm-dry-run", "--fqn", "marts.diamond")
    assert CIRCLE not in done.stdout + done.stderr + log.read_text()
    assert "diamond" in done.stderr
    assert done.stderr.count("Would write changes to") == 1  # and worked out what once


def test_other_warnings_of_the_host_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    tree = "Max depth %d exceeded for node %s, possible circular dependency"
    with compat.without_false_circles():
        logger.warning(":rotating_light: Circular dependency detected: %s -> %s", "a", "b")
        logger.warning(tree, 100, "a")
    logger.warning("Circular dependency detected: %s", "afterwards")
    assert caplog.messages == [tree % (100, "a"), "Circular dependency detected: afterwards"]
