"""`dbt-osmosis llm explain` tells what a run does, on the demo project and on odd ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbt_osmosis.cli.main import cli

from dbt_osmosis_llm.config import Settings, load_settings
from dbt_osmosis_llm.host.context import open_context
from dbt_osmosis_llm.host.inspection import HostInspection
from dbt_osmosis_llm.host.project import HostProject, RehearsalProject
from dbt_osmosis_llm.inspection.explanation import Explanation
from dbt_osmosis_llm.inspection.outlook import Outlook
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.run.options import project_options
from dbt_osmosis_llm.stack import build_client
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.prompts import load_prompts
from dbt_osmosis_llm.synthesis.report import NodeOutcome
from tests.conftest import Shop, cli_runner
from tests.server import LoopbackServer


class Explained:
    """Explains tables of a project one by one, each as if nothing had been explained before."""

    def __init__(self, context: Any, settings: Settings, environ: dict[str, str]) -> None:
        self.context = context
        self.settings = settings
        self.config = LLMConfig.from_env(settings, environ)
        self._manifest = context.project.manifest.deepcopy()

    def project(self) -> HostProject:
        """Return the project as dbt has just read it."""
        self.context.project.manifest = self._manifest.deepcopy()
        return HostProject(self.context)

    def __call__(self, node_id: str, *, prompt: bool = False) -> Explanation:
        self.project()
        prompts = load_prompts()
        root = self.context.project.runtime_cfg.project_root
        project = RehearsalProject(
            self.context, node_id, **project_options(root, self.settings, self.config, prompts)
        )
        inspection = HostInspection(project)
        outlook = Outlook(project, inspection, node_id, self.settings, prompts, self.config, root)
        return Explanation(outlook, prompt=prompt)

    def outcomes(self) -> dict[str, NodeOutcome]:
        """Run over the whole project, with the server, and return what became of each table."""
        project = self.project()
        project.prepare()
        client = build_client(self.config, LLMUsageStats())
        report = Engine(client, load_prompts(), copies=not self.settings.no_copy).run(project)
        return {outcome.node_id: outcome for outcome in report.outcomes}


@contextmanager
def opened(shop: Shop, **settings: Any) -> Iterator[Explained]:
    directory = str(shop.directory)
    loaded = load_settings(settings, directory, environ=shop.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)  # the database's path is a relative one
        with open_context(directory) as context:
            yield Explained(context, loaded, shop.environ)


def explain(shop: Shop, *arguments: str, code: int = 0) -> str:
    """Run the command as installed; return stdout, or stderr where it fails."""
    done = shop.dbt_osmosis("llm", "explain", *arguments)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stdout == ""
        return done.stderr
    assert done.stderr == ""
    return done.stdout


def explained(shop: Shop, *arguments: str) -> Any:
    return json.loads(explain(shop, *arguments, "--json"))


def files(directory: Path) -> dict[str, str]:
    """Return a hash of each file; SQLite's own files beside a database go with the process."""
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    paths = (path for path in paths if not path.name.endswith(("-wal", "-shm")))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("no_copy", [False, True], ids=["copies", "no copies"])
def test_each_verdict_is_what_a_run_does(shop: Shop, server: LoopbackServer, no_copy: bool) -> None:
    with opened(shop, no_copy=no_copy) as project:
        outcomes = project.outcomes()
        assert server.requests
        server.requests.clear()
        seen = set()
        for node_id in project.project().node_ids():
            outcome = outcomes.get(node_id, NodeOutcome(node_id))
            table = project(node_id).table()
            assert (table["verdict"] == "asked") == outcome.description_written, node_id
            done = {"asked": set[str](), "copied": set[str](), "inherited": set[str]()}
            for column in table["columns"]:
                verdict = column.get("then", column["verdict"])
                done.setdefault(verdict, set()).add(column["column"])
                seen.add(column["verdict"])
            assert done["asked"] == set(outcome.generated), node_id
            assert done["copied"] == set(outcome.copied), node_id
            assert done["inherited"] == set(outcome.inherited), node_id
            assert not done.get("not_asked"), node_id
    assert seen == {"has_text", "asked", "waits", "inherited"} | (set() if no_copy else {"copied"})
    assert server.requests == []


def test_prompts_are_those_of_a_run_whose_answers_are_on_record(
    shop: Shop, server: LoopbackServer
) -> None:
    before = {path: (shop.directory / path).read_bytes() for path in shop.yaml_files()}
    assert shop.document().returncode == 0
    texts = shop.texts()
    sent = sorted(json.dumps(request.turns) for request in server.requests)
    server.requests.clear()
    for path in shop.yaml_files():
        (shop.directory / path).unlink()
    for path, content in before.items():
        (shop.directory / path).write_bytes(content)

    prompts, unchanged = [], files(shop.directory)
    with opened(shop) as project:
        for node_id in project.project().node_ids():
            explanation = project(node_id, prompt=True)
            table = explanation.table()
            assert table["asked_first"] == []
            for request in table["requests"]:
                assert request["answered_by_call"]
                turns = [(message["role"], message["content"]) for message in request["messages"]]
                prompts.append(json.dumps(turns))
            for name in explanation.columns:
                column = explanation.column(name)
                written = texts[f"{table['name'].rpartition('.')[2]}.{name}"]
                assert column["verdict"] in ("asked", "copied", "inherited", "has_text")
                if column["verdict"] != "asked" and "{{ doc(" not in written:
                    assert column["text"].split() == written.split()
    assert sorted(prompts) == sent
    assert files(shop.directory) == unchanged
    assert server.requests == []


def test_nothing_is_asked_or_written_and_no_key_is_needed(
    shop: Shop, server: LoopbackServer
) -> None:
    del shop.environ["OPENAI_API_KEY"]
    before = files(shop.directory)
    said = explain(shop, "fct_orders", "--prompt")
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line[:20])
    assert lines["unique id"].strip() == "model.coffee_shop.fct_orders"
    assert lines["one row per"].strip() == "order_id (tested unique)"
    assert "stg_pos__orders.order_status <> 'cancelled'" in lines["filters"]
    assert "copied from stg_pos__orders.order_id (pass)" in said
    assert "\nsystem\n" in said
    assert "Columns that need a text:" in said
    assert files(shop.directory) == before
    assert server.requests == []


MID_MODEL = "select order_id, order_status from {{ ref('stg_pos__orders') }}"
LATE_MODEL = "select order_status as state, order_id || '!' as loud from {{ ref('mid') }}"
LATE_YAML = """
models:
  - {name: mid, columns: [{name: order_id}, {name: order_status}]}
  - {name: late, columns: [{name: state}, {name: loud}]}
"""


def test_a_text_is_followed_to_its_origin(shop: Shop) -> None:
    """Past a model that inherits it by name, to a doc block."""
    (shop.directory / "models/marts/mid.sql").write_text(MID_MODEL)
    (shop.directory / "models/marts/late.sql").write_text(LATE_MODEL)
    (shop.directory / "models/marts/late.yml").write_text(LATE_YAML)
    column = explained(shop, "late", "STATE")
    assert column["why"] == "copied from mid.order_status (rename)"
    assert column["text"].startswith("Where the order stands in the shop")
    yaml, doc = "models/staging/_staging__models.yml", "order_status in docs/orders.md"
    assert [
        (step["table"], step["column"], step["how"], step["file"], step["doc"])
        for step in column["text_from"]
    ] == [
        ("late", "state", None, None, None),
        ("mid", "order_status", "rename", None, None),
        ("stg_pos__orders", "order_status", "pass", yaml, doc),
    ]
    said = explain(shop, "late", "loud", "--prompt").splitlines()
    assert "expression:   order_id || '!'" in said
    assert "what happens: asked: derived from mid.order_id" in said
    assert "mid.order_id: Number of the order on the receipt." in said
    assert "  <- mid.order_id (not in a YAML file yet)" in said
    assert f"  <- stg_pos__orders.order_id [pass] (in {yaml})" in said
    assert said.count("system") == said.count("user") == 1


SETTINGS_YAML = """
models:
  - name: late
    columns:
      - {name: state, meta: {dbt-osmosis-skip-inherit-descriptions: true}}
      - {name: channel, description: Old., meta: {dbt-osmosis-force-inherit-descriptions: true}}
      - {name: store_id, description: Not documented}
"""


def test_settings_are_heeded_and_nothing_else_goes_to_stdout(shop: Shop) -> None:
    sql = "select order_status as state, channel, store_id from {{ ref('stg_pos__orders') }}"
    sql = "{{ print('said while compiling') }}" + sql
    (shop.directory / "models/marts/late.sql").write_text(sql)
    (shop.directory / "models/marts/late.yml").write_text(SETTINGS_YAML)
    done = shop.dbt_osmosis("llm", "explain", "late", "--json")
    assert "said while compiling" in done.stderr
    assert {column["column"]: column["why"] for column in json.loads(done.stdout)["columns"]} == {
        "state": "asked: rename of stg_pos__orders.order_status; no text is taken over "
        "(skip-inherit-descriptions)",
        "channel": "inherited by dbt-osmosis from stg_pos__orders.channel, in place of its own "
        "text (force-inherit-descriptions)",
        "store_id": "copied from stg_pos__orders.store_id (pass)",
    }


MISTAKES = [
    (["fct_order"], "seed is named 'fct_order'. Did you mean 'fct_orders'?"),
    (["fct_orders", "revenu"], "fct_orders has no column 'revenu'. Did you mean 'revenue'?"),
    (["stores", "zzz"], "stores has no column 'zzz'. It has store_id, store_name"),
    (["fct_orders", "--vars", "[1"], "'[1' is no YAML mapping"),
    (["fct_orders", "--llm-provider", "opnai"], "Unknown provider 'opnai'. Did you mean 'openai'?"),
]


def test_mistakes_are_one_line(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.directory)
    for arguments, says in MISTAKES:
        done = cli_runner().invoke(cli, ["llm", "explain", *arguments])
        assert (done.exit_code, done.stdout) == (2, "")
        last = done.stderr.splitlines()[-1]
        assert last.startswith("Error: ")
        assert says in last


def test_a_project_that_does_not_load_is_one_line(shop: Shop) -> None:
    said = explain(shop, "fct_orders", "--profile", "nobody", code=2)
    assert said.splitlines() == [
        f"Error: dbt cannot load the project in {shop.directory}: "
        "Runtime Error Could not find profile named 'nobody'"
    ]


def test_a_name_of_several_tables_lists_them(shapes: Shop) -> None:
    said = explain(shapes, "versioned", code=2)
    assert said == (
        "Error: Several tables are named 'versioned'; "
        "give one of model.shapes.versioned.v1, model.shapes.versioned.v2.\n"
    )


def test_tables_that_are_not_documented_say_why(shapes: Shop) -> None:
    with opened(shapes) as project:
        ephemeral = project("model.shapes.eph_things").table()
        package = project("model.pkg.pkg_model").table()
        seed = project("seed.shapes.raw_things").table()
        version = project("model.shapes.versioned.v2").table()
    assert [(c["column"], c["kind"], c["verdict"]) for c in ephemeral["columns"]] == [
        ("doubled", "derived", "has_text"),
        ("id", "pass", "not_asked"),
    ]
    assert ephemeral["columns"][1]["why"].endswith("dbt-osmosis documents no ephemeral models")
    assert "belongs to the package pkg" in package["why"]
    assert package["requests"] == []
    assert [(c["kind"], c["why"]) for c in seed["columns"]] == [
        (None, "has a text (in seeds/_seeds.yml, doc block thing_id in models/docs.md)"),
        (None, "asked: nothing is upstream of a seed"),
        (None, "asked: nothing is upstream of a seed"),
    ]
    assert version["columns"][0]["why"] == "has a text (in models/_schema.yml)"


def test_a_model_that_does_not_compile_says_so(shop: Shop) -> None:
    (shop.directory / "models/marts/bad.sql").write_text(
        "{% if execute %}{{ exceptions.raise_compiler_error('broken on purpose') }}{% endif %}"
        "select order_id from {{ ref('fct_orders') }}"
    )
    table = explained(shop, "bad")
    assert table["sql"]["state"] == "raw"
    assert "broken on purpose" in table["sql"]["compile_error"]
    assert table["verdict"] == "asked"
    assert [one["name"] for one in table["reads"]] == ["fct_orders"]
