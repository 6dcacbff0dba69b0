"""Texts that are taken over by lineage, through the command: dbt-osmosis's settings hold."""

from __future__ import annotations

from tests.conftest import Shop
from tests.server import LoopbackServer

YAML = """models:
- {name: origin, description: Known., columns: [{name: id, description: "Number of the order."}]}
- {name: renamed, description: Known., columns: [{name: order_number}, {name: twice}]}
"""
MODELS = {
    "origin.sql": "select 1 as id",
    "renamed.sql": "select id as order_number, id * 2 as twice from {{ ref('origin') }}",
}


def with_a_rename(shop: Shop) -> Shop:
    folder = shop.directory / "models/renames"
    folder.mkdir()
    for name, content in {**MODELS, "_renames__models.yml": YAML}.items():
        (folder / name).write_text(content)
    return shop


def test_a_rename_takes_its_text_without_a_request(shop: Shop, server: LoopbackServer) -> None:
    done = with_a_rename(shop).document("models/renames", "--add-progenitor-to-meta")
    assert done.returncode == 0, done.stderr
    assert shop.texts()["renamed.order_number"] == "Number of the order."
    (request,) = server.requests
    assert request.schema["required"] == ["description"]  # of `twice` alone
    assert "1 copied" in done.stderr
    (_, renamed) = shop.load("models/renames/_renames__models.yml")["models"]
    number = next(column for column in renamed["columns"] if column["name"] == "order_number")
    meta = number.get("meta") or number["config"]["meta"]
    assert meta["osmosis_progenitor"] == "model.coffee_shop.origin"


def test_who_wants_no_inheritance_gets_no_copy(shop: Shop, server: LoopbackServer) -> None:
    done = with_a_rename(shop).document("models/renames", "--skip-inherit-descriptions")
    assert done.returncode == 0, done.stderr
    assert shop.texts()["renamed.order_number"] != "Number of the order."
    assert "0 copied" in done.stderr


NAMES = {
    "codes.sql": "select 1 as id, 'a' as code, 'b' as label",
    "joined.sql": """select codes.id, other.code, upper(codes.label) as label
from {{ ref('codes') }} as codes join {{ ref('others') }} as other on codes.id = other.id""",
    "others.sql": "select 1 as id, 'x' || 'y' as code",
    "_names__models.yml": """models:
- name: codes
  columns:
  - {name: id, description: Number of the code.}
  - {name: code, description: Code of the country.}
  - {name: label, description: Label of the code.}
- {name: others, columns: [{name: id, description: Number of the other.}, {name: code}]}
- {name: joined, columns: [{name: id}, {name: code}, {name: label}]}
""",
}


def test_lineage_goes_before_names(shop: Shop, server: LoopbackServer) -> None:
    folder = shop.directory / "models/names"
    folder.mkdir()
    for name, content in NAMES.items():
        (folder / name).write_text(content)
    assert shop.document("models/names").returncode == 0
    texts = shop.texts()
    assert texts["joined.id"] == "Number of the code."  # of `codes`, which it comes from
    assert texts["joined.code"] == texts["others.code"]  # not that of `codes`
    assert texts["joined.code"] != "Code of the country."
    assert texts["joined.label"] not in ("", "Label of the code.")  # computed anew
    before = shop.yaml_files()
    server.reset()
    assert shop.document("models/names").returncode == 0
    assert (server.requests, shop.yaml_files()) == ([], before)
