"""Generated projects through the installed command; ``python -m tests.differential`` plays more."""

from __future__ import annotations

import pytest

from dbt_osmosis_llm.evidence.fingerprint import text_hash
from tests.differential import oracle, reduction
from tests.differential.__main__ import play_seed, project_of
from tests.differential.play import Playground, play
from tests.differential.projects import Column, Entry, File, Listed, Project, Table, Tokens
from tests.server import LoopbackServer

# Fixed, so that a change is judged by what it changes; `python -m tests.differential` draws others.
SEEDS = range(3000, 3006)
MORE_SEEDS = range(3006, 3022)


@pytest.fixture(scope="module")
def playground(
    tmp_path_factory: pytest.TempPathFactory, _running_server: LoopbackServer
) -> Playground:
    return Playground(tmp_path_factory.mktemp("differential") / "project", _running_server)


def well_played(seed: int, playground: Playground) -> None:
    faults = play_seed(seed, playground)
    replay = f"python -m tests.differential --projects 1 --reduce --seed {seed}"
    assert not faults, "\n".join([replay, *map(str, faults)])


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_projects(playground: Playground, seed: int) -> None:
    well_played(seed, playground)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MORE_SEEDS)
def test_more_generated_projects(playground: Playground, seed: int) -> None:
    well_played(seed, playground)


def test_what_stars_pass_on_from_yaml_alone_is_not_missing(playground: Playground) -> None:
    def model(name: str, parent: str, sql: str, *listed: str) -> Table:
        origins = ((parent, "id"),)
        column = Column("id", "copy", origins) if parent else Column("id")
        entry = Entry(columns=[Listed(each) for each in listed])
        reads = [parent] if parent else []
        return Table(name, "model", [column], sql, reads, entry, "models/a.yml")

    star = "select * from {{{{ ref('{}') }}}}".format
    tables = [
        model("orders", "", "select 1 as id", "id"),
        model("staged", "orders", star("orders"), "id", "ghost"),
        model("final", "staged", star("staged"), "id", "ghost"),
    ]
    project = Project(tables, {"models/a.yml": File("models/a.yml")}, [], Tokens())
    assert not play(project, playground)


def test_fields_of_constants_take_no_texts_along(playground: Playground) -> None:
    columns = [Column(name) for name in ("position", "position.lat", "position.lon")]
    sql = """select {'lat': 1, 'lon': 2} as "position\""""
    table = Table("places", "model", columns, sql, entry=Entry(), file="models/a.yml")
    files = {"models/a.yml": File("models/a.yml")}
    project = Project([table], files, [], Tokens(), edits=["rename_column"])
    assert not play(project, playground)
    assert "renamed.lat" in (playground.directory / "models/a.yml").read_text()


BEFORE = """\
models:
  # about orders
  - name: orders
    config:
      tags: [nightly]
    columns:
      - name: id
        description: Words of people {id}.
      - name: total
"""


def orders() -> tuple[Project, str, str, str]:
    """Return a project of one table, its file, and the words of its two columns."""
    tokens = Tokens()
    words = tokens.of("human", "1", "orders", "id"), tokens.of("asked", "orders", "total")
    entry = Entry(columns=[Listed("id"), Listed("total")])
    columns = [Column("id"), Column("total", "computed")]
    table = Table("orders", "model", columns, entry=entry, file="models/a.yml")
    project = Project([table], {"models/a.yml": File("models/a.yml")}, [], tokens)
    return project, BEFORE.format(id=words[0]), *words


def rules(project: Project, before: str, after: str) -> set[str]:
    old, new = {"models/a.yml": before.encode()}, {"models/a.yml": after.encode()}
    found = [
        *oracle.kept(project, old, new),
        *oracle.lines_kept(project, old, new),
        *oracle.named_once(old, new),
        *oracle.right_words(project, old, new),
    ]
    return {fault.rule for fault in found}


def test_what_a_run_may_do_is_no_fault() -> None:
    project, before, _, total = orders()
    after = f"{before}        description: Meaning of {total}.\n"
    assert rules(project, before, after) == set()


def test_a_refreshed_text_of_ours_is_no_lost_line() -> None:
    project, before, human, total = orders()
    before += f"        description: >-\n          Meaning of {total}.\n"
    after = before.replace(f"Meaning of {total}", f"New meaning of {total}")
    assert rules(project, before, after) == {"line lost"}
    project.refresh = True
    assert rules(project, before, after) == set()
    assert rules(project, before, after.replace(human, total)) >= {"human text changed"}


def test_each_rule_sees_what_breaks_it() -> None:
    project, before, human, _ = orders()
    assert rules(project, before, before.replace("Words of", "Other words of")) == {
        "human text changed"
    }
    assert "line lost" in rules(project, before, before.replace("  # about orders\n", ""))
    assert "key lost" in rules(project, before, before.replace("[nightly]", "[]"))
    assert "entry lost" in rules(project, before, before.replace("      - name: total\n", ""))
    assert rules(project, before, f"{before}      - name: Total\n") == {"entry doubled"}
    assert rules(project, before, f"{before}        description: About {human}.\n") == {
        "wrong text"
    }
    assert "line ends changed" in rules(project, before, before.replace("\n", "\r\n"))


def test_a_lock_line_needs_its_text() -> None:
    _, before, _, total = orders()
    files = {"models/a.yml": f"{before}        description: Meaning of {total}.\n".encode()}
    line = {"text": text_hash(f"Meaning of {total}.")}
    node = "model.proj.orders"
    assert not list(oracle.lock_agrees({"nodes": {node: {"total": line}}}, files))
    for wrong in ({"id": line}, {"gone": line}):
        assert list(oracle.lock_agrees({"nodes": {node: wrong}}, files))


def test_what_is_asked_twice_is_seen() -> None:
    assert list(oracle.asked_once([("orders", "id"), ("orders", "id")]))
    assert not list(oracle.asked_once([("orders", "id"), ("orders", "")]))


def test_a_reduced_project_is_what_its_fault_needs(
    monkeypatch: pytest.MonkeyPatch, playground: Playground
) -> None:
    played: list[Project] = []

    def stand_in(project: Project, _: Playground, *, until: str) -> list[oracle.Fault]:
        played.append(project)
        tested = [c for t in project.tables if t.entry for c in t.entry.columns if c.merges]
        return [oracle.Fault(until, "")] if tested and project.refresh else []

    monkeypatch.setattr(reduction, "play", stand_in)
    seed = next(s for s in range(100) if stand_in(project_of(s), playground, until="odd"))
    assert reduction.reduce(project_of(seed), "odd", playground)
    small = played[-1]
    (entry,) = (table.entry for table in small.tables if table.entry)
    assert entry == Entry(columns=[Listed(entry.columns[0].name, merges=True)])
    assert small.files == {path: File(path) for path in small.files}
    assert small.refresh
    assert not small.edits + small.options

    small.refresh = False
    assert not reduction.reduce(small, "odd", playground)


def test_a_run_that_fails_says_why() -> None:
    assert not list(oracle.ended_well(1, "Left alone, because …"))
    assert list(oracle.ended_well(1, "nothing"))
    assert list(oracle.ended_well(0, "Traceback (most recent call last):"))
