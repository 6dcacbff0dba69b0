"""Projects as teams have them: a run's git diff shows texts, data types and new columns alone."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import diff
from tests.commands import clean_environment, run_command
from tests.conftest import KEY, Shop, build_project
from tests.server import LoopbackServer

PROJECTS = Path(__file__).parent.parent / "projects"
LEFT_BY_TOOLS = (
    "target/",
    "logs/",
    "dbt_packages/",
    "*.duckdb",
    "*.duckdb.wal",
    ".user.yml",
    ".home/",
    ".formatted",
)
LOCK_FILE = "dbt-osmosis-llm.lock.yml"
FORMATTER = "printf '%s\\n' \"$@\" > .formatted"
"""Notes which files it is given, and formats nothing."""


@dataclass(frozen=True)
class Team:
    """What a run should do to one of the projects."""

    changed: tuple[str, ...]
    """YAML files that lack something that a run can add."""
    created: tuple[str, ...] = ()
    """YAML files for models that have none."""
    left_alone: tuple[str, ...] = ()
    """YAML files that cannot be changed safely."""
    empty: tuple[str, ...] = ()
    """What still has no text: dbt-osmosis does not document it, or it does not exist."""
    absent: tuple[str, ...] = ()
    """Columns that the database does not have: ``refactor`` takes them out."""
    moved: tuple[str, str, str] | None = None
    """The model that ``refactor`` moves, out of which file, into which."""
    inherits: bool = True
    """Tags and meta of upstream columns come along with their texts."""
    arguments: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return 1 if self.left_alone else 0

    def allowed(self, command: str) -> diff.Allowed:
        keys = diff.INHERITED if self.inherits else frozenset[str]()
        if command == "document":
            return diff.Allowed(keys)
        return diff.Allowed(keys, frozenset({*self.absent, *(self.moved or ())[:1]}), types=True)


TEAMS = {
    # Comments everywhere, anchors, merge keys; one file a folder.
    "bakery": Team(
        changed=(
            "models/marts/_models.yml",
            "models/staging/_models.yml",
            "models/staging/_sources.yml",
            "seeds/_seeds.yml",
        ),
    ),
    # Edited on Windows: CRLF, byte order mark, no last line end; lists are not indented, texts
    # come first; one file a model.
    "clinic": Team(
        changed=(
            "models/marts/treatments_per_patient.yml",
            "models/staging/sources.yml",
            "models/staging/stg_appointments.yml",
            "models/staging/stg_patients.yml",
            "seeds/treatments.yml",
        ),
        created=("models/marts/therapist_hours.yml",),
    ),
    # Indented by four; versions, contracts, groups, `config: meta`; all in one file.
    "freight": Team(
        changed=("models/core/schema.yml", "models/reports/schema.yml", "seeds/carriers.yml"),
        # dbt-osmosis documents the columns of each version.
        empty=("shipments.carrier_code", "shipments.hours_on_the_road"),
        inherits=False,
    ),
    # Nested columns, names with blanks, Jinja in texts, wide lines, blocks; a model in Python,
    # a snapshot, a semantic layer.
    "observatory": Team(
        changed=("models/marts/_marts.yml", "models/staging/_staging.yml"),
    ),
    # A package; models that are ephemeral, disabled, not built or without YAML; columns that are
    # gone; placeholders.
    "marketplace": Team(
        changed=(
            "models/marts/_marts__forecast.yml",
            "models/staging/_sources.yml",
            "models/staging/_staging__models.yml",
        ),
        created=("models/marts/_marts__models.yml",),
        # A disabled model, an ephemeral one, and a column that no query makes.
        empty=(
            "fct_refunds",
            "fct_refunds.order_id",
            "fct_refunds.refunded_on",
            "int_orders_with_sellers",
            "int_orders_with_sellers.order_id",
            "stg_sellers.seller_rating",
        ),
        absent=("seller_rating", "seller_stars"),
        moved=(
            "fct_forecast",
            "models/marts/_marts__forecast.yml",
            "models/marts/_marts__models.yml",
        ),
        arguments=("--include-external",),
    ),
    # Upper case, as on Snowflake; models, sources and seeds in one file, and one that is JSON.
    "museum": Team(changed=("models/base/schema.yaml", "models/generated/_generated.yml")),
    # YAML that dbt reads and nobody can change safely.
    "attic": Team(
        changed=("models/stg_boxes.yml",),
        created=("models/decades.yml",),
        left_alone=("models/box_states.yml", "models/broken_things.yml"),
    ),
}
SHAPES = {
    "comment at the top": ("bakery/models/staging/_models.yml", r"\A# ---"),
    "comment at the end": ("bakery/models/staging/_models.yml", r"\n\n# nobody .*\n\Z"),
    "comment between items": ("bakery/models/staging/_models.yml", r"\n\n  # one row"),
    "comment behind a value": ("bakery/models/staging/_models.yml", r'description: ""  +# Ines'),
    "commented-out column": ("bakery/models/staging/_models.yml", r"\n      # - name: cashier"),
    "anchor, alias": ("bakery/models/staging/_models.yml", r"&key_tests [\s\S]*\*key_tests"),
    "alias for a column": ("bakery/models/staging/_models.yml", r"- \*loaded_at"),
    "merge key": ("bakery/models/staging/_models.yml", r"- <<: \*money\n"),
    "anchored text": ("museum/models/base/schema.yaml", r"description: \*inventory"),
    "own top-level key": ("museum/models/base/schema.yaml", r"\nx-audit: "),
    "document markers": ("museum/models/base/schema.yaml", r"\A---\n[\s\S]*\n\.\.\.\n\Z"),
    "text over plain lines": ("bakery/models/marts/_models.yml", r"description:\n +Cents"),
    "empty list": ("bakery/models/marts/_models.yml", r"columns: \[\]"),
    "no version": ("bakery/models/marts/_models.yml", r"\Amodels:"),
    "folded": ("bakery/models/marts/_models.yml", r"description: >-\n"),
    "literal": ("bakery/models/staging/_sources.yml", r"description: \|\n"),
    "literal with its indentation": ("museum/models/base/schema.yaml", r"\|2\n {12}I"),
    "kept line ends": ("observatory/models/staging/_staging.yml", r">\+\n[\s\S]*\|\+\n|\|\+\n"),
    "wide line": ("observatory/models/staging/_staging.yml", r"\n.{140,}\n"),
    "single quotes": ("freight/models/core/schema.yml", r": '[^\n]*''ROT''"),
    "double quotes": ("clinic/models/staging/stg_patients.yml", r'"Year of birth\. \\u00dc'),
    "quoted over lines": ("clinic/models/marts/treatments_per_patient.yml", r'"What.*,\r\n'),
    "flow style": ("bakery/seeds/_seeds.yml", r"- \{name: is_vegan, description: ''\}"),
    "JSON": ("museum/models/generated/_generated.yml", r"\A\{\n"),
    "lists not indented": ("clinic/models/staging/sources.yml", r"\nsources:\r\n- name"),
    "lists indented by two": ("bakery/models/marts/_models.yml", r"\n  - name"),
    "lists indented by four": ("freight/models/core/schema.yml", r"\n    - name"),
    "dash and three blanks": ("freight/models/reports/schema.yml", r"\n-   name"),
    "text before the name": ("clinic/models/staging/stg_appointments.yml", r'- description: ""'),
    "blank lines between columns": ("clinic/models/staging/stg_appointments.yml", r"\r\n\r\n  -"),
    "CRLF": ("clinic/models/staging/stg_appointments.yml", r"\A(.*\r\n)+\Z"),
    "byte order mark": ("clinic/models/staging/sources.yml", "\\A\ufeff# "),
    "no last line end": ("clinic/models/staging/stg_patients.yml", r"[^\r\n]\Z"),
    "doc()": ("clinic/models/staging/sources.yml", r"\{\{ doc\('therapist'\) \}\}"),
    "var() in a text": ("clinic/models/staging/sources.yml", r"description: .*\{\{ var\("),
    "var() elsewhere": ("clinic/models/staging/sources.yml", r"schema: .*\{\{ var\("),
    "raw Jinja": ("observatory/models/staging/_staging.yml", r"\{% raw %\}"),
    "Jinja as a name": ("marketplace/models/staging/_sources.yml", r"name: \"\{\{ var\("),
    "tests": ("clinic/models/staging/stg_appointments.yml", r" tests:\r\n *- accepted"),
    "data_tests": ("freight/models/core/schema.yml", r"data_tests:\n *- accepted"),
    "meta": ("observatory/models/marts/_marts.yml", r"\n        meta: \{unit"),
    "config: meta": (
        "freight/models/core/schema.yml",
        r"\n {14}config:\n {16}meta:|config:\n +meta",
    ),
    "config: tags": ("freight/models/reports/schema.yml", r"config: \{tags:"),
    "exposures": ("bakery/models/marts/_models.yml", r"\nexposures:"),
    "unit tests": ("freight/models/core/schema.yml", r"\nunit_tests:"),
    "groups": ("freight/models/core/schema.yml", r"\ngroups:"),
    "semantic models": ("observatory/models/marts/_marts.yml", r"\nsemantic_models:"),
    "metrics": ("observatory/models/marts/_marts.yml", r"\nmetrics:"),
    "snapshots": ("observatory/snapshots/targets_history.yml", r"\Asnapshots:"),
    "versions": ("freight/models/core/schema.yml", r"- include: all\n *exclude:"),
    "contract": ("freight/models/core/schema.yml", r"contract: \{enforced: true\}"),
    "nested column": ("observatory/models/staging/_staging.yml", r"- name: Pointing\.ra"),
    "quoted column": ("freight/models/core/schema.yml", r"""- name: '"HUB_FROM"'"""),
    "upper case": ("museum/models/base/schema.yaml", r"- name: OBJECT_ID"),
    "column types": ("clinic/seeds/treatments.yml", r"column_types:"),
    "identifier": ("clinic/models/staging/sources.yml", r"identifier: tbl_"),
    "equal keys": ("attic/models/broken_things.yml", r"(description: .*\n[\s\S]*){3}"),
    "tab before a comment": ("attic/models/box_states.yml", r"\t#"),
    "model in Python": ("observatory/models/marts/frames_by_target.py", r"def model\("),
    "incremental model": ("freight/models/core/shipment_events.sql", r"is_incremental\(\)"),
    "disabled model": ("marketplace/models/marts/fct_refunds.sql", r"enabled=false"),
    "local package": ("marketplace/packages.yml", r"- local:"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_projects_have_every_shape(shape: str) -> None:
    name, pattern = SHAPES[shape]
    assert re.search(pattern, (PROJECTS / name).read_bytes().decode())


@dataclass
class Run:
    """A copy of a project in a git repository of its own."""

    team: Team
    shop: Shop
    server: LoopbackServer
    done: subprocess.CompletedProcess[str]
    command: str

    @property
    def warnings(self) -> str:
        """All that was said above the level of dbt-osmosis's chatter."""
        lines = self.done.stderr.splitlines()
        return "\n".join(line for line in lines if not re.match(r"INFO|\s{9}|$", line))

    @property
    def directory(self) -> Path:
        return self.shop.directory

    def lists(self, *options: str) -> list[str]:
        names = diff.git(self.directory, "ls-files", "--exclude-standard", "-z", *options).decode()
        return sorted(name for name in names.split("\0") if name and name != LOCK_FILE)

    def files(self) -> dict[str, bytes]:
        """Return all files of the project, but for what dbt leaves there."""
        names = self.lists("--cached", "--others")
        return {name: (self.directory / name).read_bytes() for name in [*names, LOCK_FILE]}

    def complaints(self) -> list[str]:
        """Return all that the diff of existing YAML files should not show."""
        allowed = self.team.allowed(self.command)
        found = []
        for change in diff.changes(self.directory):
            found += diff.complaints(change, allowed)
            before, after = diff.load(change.before), diff.load(change.after)
            found += diff.lost(before, after, allowed, change.file)
        return found

    def texts(self) -> dict[str, str]:
        """Return every text by its place in the project."""
        found: dict[str, str] = {}
        for name in (*self.team.changed, *self.team.created):
            content = diff.load((self.directory / name).read_bytes())
            tables = [*content.get("models", []), *content.get("seeds", [])]
            tables += [t for s in content.get("sources", []) for t in s.get("tables", [])]
            for table in tables:
                found.update(_texts(table))
        return found


def _texts(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    name = table["name"]
    yield name, table.get("description") or ""
    for version in ({}, *table.get("versions", ())):
        for column in {"columns": [], **(version or table)}["columns"]:
            if "name" in column:
                place = f"{name}.v{version['v']}" if version else name
                yield f"{place}.{column['name']}", column.get("description") or ""


def run_on_a_copy(
    built: Path, directory: Path, server: LoopbackServer, command: str, *arguments: str
) -> Run:
    """Copy a built project into a git repository and let dbt-osmosis document it."""
    shutil.copytree(built, directory, symlinks=True)
    diff.commit_all(directory, ignored=LEFT_BY_TOOLS)
    environ = clean_environment(
        LLM_PROVIDER="openai",
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL=server.url,
        OSMOSIS_LLM_MAX_RETRIES="0",
        HOME=str(directory / ".home"),
    )
    shop = Shop(directory, environ)
    done = shop.document(*arguments, command=command)
    return Run(TEAMS[built.name], shop, server, done, command)


def dbt_parse(directory: Path) -> subprocess.CompletedProcess[str]:
    return run_command("dbt", "parse", "--no-partial-parse", directory=directory)


@pytest.fixture(scope="module", params=TEAMS)
def built(request: pytest.FixtureRequest, made_once: Callable[..., Path]) -> Path:
    name: str = request.param
    return made_once(name, lambda directory: build_project(name, directory))


@pytest.fixture(scope="module")
def run(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Give a project after ``yaml document --synthesize``."""
    directory = tmp_path_factory.mktemp("documented") / built.name
    formatter = shlex.join(["sh", "-c", FORMATTER, "sh"])
    with LoopbackServer().running() as server:
        arguments = (*TEAMS[built.name].arguments, "--formatter", formatter)
        yield run_on_a_copy(built, directory, server, "document", *arguments)


def test_the_diff_shows_texts_types_and_new_columns_alone(run: Run, built: Path) -> None:
    assert run.done.returncode == run.team.exit_code, run.warnings
    assert run.complaints() == []
    assert run.lists("--modified") == sorted(run.team.changed)
    assert run.lists("--others") == sorted(run.team.created)
    # What packages hold is linked into every copy of the project.
    for path in (PROJECTS / built.name).rglob("*.yml"):
        assert (built / path.relative_to(PROJECTS / built.name)).read_bytes() == path.read_bytes()


def test_comments_and_jinja_stay_as_they_are_written(run: Run) -> None:
    for change in diff.changes(run.directory):
        for pattern in (rb"#[^\r\n]*", rb"\{\{.*?\}\}|\{%.*?%\}"):
            before, after = (Counter(re.findall(pattern, c)) for c in (change.before, change.after))
            assert before <= after, change.file


def test_all_that_dbt_osmosis_documents_has_a_text(run: Run) -> None:
    assert sorted(place for place, text in run.texts().items() if not text) == sorted(
        run.team.empty
    )


def test_files_that_cannot_be_changed_safely_are_named(run: Run) -> None:
    asked = str([request.text for request in run.server.requests])
    for name in run.team.left_alone:
        assert name in run.done.stderr
        assert f"model `{Path(name).stem}`" not in asked, "no text is paid for that is not written"


def test_dbt_reads_the_result(run: Run) -> None:
    parsed = dbt_parse(run.directory)
    assert parsed.returncode == 0, parsed.stdout


def test_the_formatter_gets_the_files_that_were_changed(run: Run) -> None:
    formatted = [Path(line) for line in (run.directory / ".formatted").read_text().splitlines()]
    names = sorted(str(path.relative_to(run.directory.resolve())) for path in formatted)
    assert names == sorted((*run.team.changed, *run.team.created))


def test_a_second_run_changes_nothing_and_asks_nobody(run: Run) -> None:
    files = run.files()
    run.server.requests.clear()
    # dbt's partial parsing stumbles over changed files of sources, whoever has changed them.
    (run.directory / "target/partial_parse.msgpack").unlink(missing_ok=True)
    again = run.shop.document(*run.team.arguments)
    assert again.returncode == run.team.exit_code, again.stderr
    assert [request.text for request in run.server.requests] == []
    assert run.files() == files


def test_refactor_moves_and_removes_what_dbt_osmosis_decides(built: Path, tmp_path: Path) -> None:
    with LoopbackServer().running() as server:
        run = run_on_a_copy(built, tmp_path / built.name, server, "refactor", "--auto-apply")
    assert run.done.returncode == run.team.exit_code, run.warnings
    assert run.complaints() == []
    columns = {place.rpartition(".")[2] for place in run.texts()}
    assert not columns & set(run.team.absent)
    if run.team.moved:
        name, old, new = run.team.moved
        was, old_file, new_file = (
            diff.load(content)["models"]
            for content in (
                (built / old).read_bytes(),
                (run.directory / old).read_bytes(),
                (run.directory / new).read_bytes(),
            )
        )
        assert name not in [model["name"] for model in old_file]
        (model,) = [model for model in was if model["name"] == name]
        (moved,) = [model for model in new_file if model["name"] == name]
        assert diff.lost(model, moved, run.team.allowed(run.command)) == []
