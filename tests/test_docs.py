"""The docs tell the truth: options, commands, messages, links, and code that runs."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import ruamel.yaml

from dbt_osmosis_llm.config import OPTIONS, PROMPT_ENV_PREFIX, PROMPT_KEYS, load_settings
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.synthesis.lock import LOCK_NAME, LockFile
from dbt_osmosis_llm.synthesis.prompts import PLACEHOLDERS, Prompts, load_prompts
from tests.conftest import Shop, clean_environment

ROOT = Path(__file__).parent.parent
SITE = sorted(ROOT.glob("docs/*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *SITE]
USER_PAGES = [ROOT / "README.md", *SITE]
PAGE_IDS = [page.name for page in PAGES]
LANGUAGES = {"python", "shell", "console", "sql", "yaml", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page.name, line, found[1], found[2])


BLOCKS = [block for page in USER_PAGES for block in blocks_of(page)]


def in_language(*languages: str) -> list[Any]:
    return [pytest.param(b, id=str(b)) for b in BLOCKS if b.language in languages]


def prose(page: Path) -> str:
    """Return a page without its blocks and without the messages that a table quotes."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\| `[^`]*…[^`]*` \|", "", text, flags=re.MULTILINE)


# Names


@pytest.mark.parametrize("tool", ["reference", "house"])
def test_pages_are_what_the_code_says(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / f"tools/{tool}.py", "--check"],
        env=clean_environment(COLUMNS="40"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", USER_PAGES, ids=lambda page: page.name)
def test_flags_and_variables_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    flags = {option.flag for option in OPTIONS}
    variables = {option.env for option in OPTIONS}
    variables |= {PROMPT_ENV_PREFIX + key.upper() for key in PROMPT_KEYS} | {PROMPT_ENV_PREFIX}
    assert set(re.findall(r"--llm-[a-z-]*[a-z]", text)) <= flags
    assert set(re.findall(r"OSMOSIS_LLM_\w+", text.replace("DBT_OSMOSIS_LLM", ""))) <= variables


def test_readme_names_every_provider_and_the_pages_every_variable() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    page = readme + (ROOT / "docs/providers.md").read_text("utf-8")
    for spec in PROVIDERS.values():
        assert f"`{spec.name}`" in readme
        for variable in (
            spec.key_env,
            spec.model_env,
            spec.base_url_env,
            *spec.options_env.values(),
        ):
            assert variable is None or variable in page, variable
        assert spec.name == "offline" or (spec.default_model or "") in page


def test_prompt_page_has_every_key_and_placeholder() -> None:
    page = (ROOT / "docs/prompts.md").read_text("utf-8")
    for name in (*PROMPT_KEYS, *(f"{{{name}}}" for name in PLACEHOLDERS)):
        assert f"`{name}`" in page


# Links


def slug(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return re.sub(r" +", "-", words)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if page.parent.name == "docs":
            assert file.parent.name == "docs", f"{target}: the site has no such page"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = re.findall(r'= "([\w-]+\.md)"', (ROOT / "zensical.toml").read_text("utf-8"))
    assert sorted(menu) == [page.name for page in SITE]


# Blocks


def test_every_block_names_its_language() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES


def test_sql_stands_where_other_tests_run_it() -> None:
    assert {b.page for b in BLOCKS if b.language == "sql"} == {"ledger.md", "parquet.md"}


@pytest.mark.parametrize("block", in_language("python"))
def test_code_runs(block: Block) -> None:
    exec(compile(block.code, block.page, "exec"), {})


def yaml_of(block: Block) -> Any:
    return ruamel.yaml.YAML(typ="safe", pure=True).load(block.code)


@pytest.mark.parametrize("block", in_language("yaml"))
def test_yaml_is_what_it_says(block: Block, tmp_path: Path) -> None:
    content = yaml_of(block)
    known = {"jobs", "steps", "documentation", "repos", "nodes", "vars", "models"}
    kinds = known & set(content)
    if kinds == {"vars"}:
        (tmp_path / "dbt_project.yml").write_text(block.code, "utf-8")
        assert load_settings({}, tmp_path, environ={}) != load_settings({}, None, environ={})
    elif kinds == {"repos"}:
        (ours,) = ruamel.yaml.YAML(typ="safe").load(ROOT / ".pre-commit-hooks.yaml")
        for hook in (hook for repo in content["repos"] for hook in repo["hooks"]):
            assert hook["id"] == ours["id"]
            for key in ("entry", "types_or", "pass_filenames"):
                assert hook.get(key, ours[key]) == ours[key]
    elif kinds == {"nodes"}:
        (tmp_path / LOCK_NAME).write_text(block.code, "utf-8")
        lines = [(uid, name) for uid, names in content["nodes"].items() for name in names]
        assert list(LockFile(tmp_path / LOCK_NAME)) == lines
    elif kinds == {"models"}:  # as the error says that asks for it
        paths = {str(path) for kind in content.values() for path in kind.values()}
        assert paths == {"{'+dbt-osmosis': '_{model}.yml'}"}
        assert any("Set '+dbt-osmosis: \"_{model}.yml\"' for it" in said for said in TEMPLATES)
    elif not kinds:
        assert prompts_of(block, tmp_path) != Prompts()


def prompts_of(block: Block, tmp_path: Path) -> Prompts:
    path = tmp_path / "prompts.yaml"
    path.write_text(block.code, "utf-8")
    return load_prompts(path)


def worked_examples() -> list[Any]:
    return [p for p in in_language("yaml") if p.values[0].page == "prompts.md"][1:]


@pytest.mark.parametrize("block", worked_examples())
def test_worked_prompt_files_reach_the_model(block: Block, tmp_path: Path) -> None:
    content, prompts = yaml_of(block), prompts_of(block, tmp_path)
    evidence = dict.fromkeys(PLACEHOLDERS, "nothing of the kind")
    term = next(iter(content["glossary"]))
    used = {**evidence, "sql": f"select {term.lower().replace(' ', '_')} from orders_of_today"}
    for kind in ("model", "table", "column"):
        system, user = prompts.render(kind, used, answer_format="JSON")
        assert "{" not in system.content
        for rule in content["rules"]:
            assert rule.replace("{company}", "Example Coffee") in system.content
        assert content.get("language", "") in system.content
        assert content["glossary"][term] in user.content
        _, other = prompts.render(kind, evidence, answer_format="JSON")
        assert content["glossary"][term] not in other.content
    assert content.get("table_system", "").strip() in prompts.templates["table_system"]


def test_there_are_three_worked_prompt_files() -> None:
    assert len(worked_examples()) == 3


# Commands

_COMMAND = re.compile(r"(?<![\w./-])dbt-osmosis (.+)")


def commands_in(block: Block) -> Iterator[str]:
    """Yield the arguments of each dbt-osmosis command of a block."""
    for line in block.code.splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        if found := _COMMAND.search(line.split(" #")[0]):
            yield re.split(r" (?:\||>|>>|&&) ", found[1])[0].strip()


IN_BLOCKS = [
    (str(block), command)
    for block in BLOCKS
    if block.language in ("shell", "console", "yaml")
    for command in commands_in(block)
    if "name:" not in block.code.split(command)[0].splitlines()[-1]
]
IN_PROSE = [
    (page.name, command)
    for page in USER_PAGES
    for command in re.findall(r"`(?:\w+=\S+ )?dbt-osmosis ([^`]+)`", prose(page))
]


@pytest.fixture(scope="module")
def cli() -> click.Group:
    from dbt_osmosis.cli import main

    group: click.Group = main.cli
    return group


@pytest.mark.parametrize("command", sorted({command for _, command in IN_BLOCKS + IN_PROSE}))
def test_commands_and_options_exist(command: str, cli: click.Group) -> None:
    arguments, found = shlex.split(command), cli
    context = click.Context(cli, info_name="dbt-osmosis")
    while isinstance(found, click.Group) and arguments:
        name = arguments.pop(0)
        found = found.get_command(context, name)  # type: ignore[assignment]
        assert found is not None, name
        context = click.Context(found, info_name=name, parent=context)
    values, _, _ = found.make_parser(context).parse_args(arguments)
    for option in found.params:
        value = values.get(option.name)
        if isinstance(option.type, click.Choice) and value in arguments and "|" not in value:
            option.type.convert(value, option, context)


CANNOT_RUN = {
    "s3://": "needs a bucket",
    "18": "an id of somebody's ledger",
    "prune": "asks back",
    "test-llm": "says offline that there is nothing to test",
    "providers": "tested with the providers",
}
SHOWN_FOR_THE_DEMO = ("costs.md", "explain.md", "your-yaml.md")
RUNNABLE = sorted(
    {
        command
        for block, command in IN_BLOCKS
        if not any(word in command for word in CANNOT_RUN)
        and not block.startswith(("ci.md", "explain.md"))  # tested below
    }
)


@pytest.fixture(scope="module")
def documented(built_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The demo project after a run, so that there is a ledger to look at."""
    home = tmp_path_factory.mktemp("docs")
    shutil.copytree(built_demo, home / "shop", symlinks=True)
    shutil.copy(ROOT / "prompts.example.yaml", home / "shop/prompts.yaml")
    shop = Shop(home / "shop", clean_environment(LLM_PROVIDER="offline", HOME=str(home)))
    done = shop.document("--log-level", "ERROR")
    assert done.returncode == 0, done.stderr
    return shop


@pytest.mark.parametrize("command", RUNNABLE)
def test_commands_run_offline(command: str, documented: Shop) -> None:
    done = documented.dbt_osmosis(*shlex.split(command))
    findings = 1 if command.startswith("llm check") else 0
    assert done.returncode in (0, findings), done.stderr
    assert "Traceback" not in done.stderr


def shape(line: str) -> str:
    """Return a line without its figures and its alignment: those are of one run."""
    return " ".join(re.sub(r"\$?\d[\d.,]*", "#", line).split())


@pytest.mark.parametrize(
    "block", [p for p in in_language("console") if p.values[0].page in SHOWN_FOR_THE_DEMO]
)
def test_shown_output_is_real(block: Block, shop: Shop) -> None:
    (command,) = commands_in(block)
    shop.environ.pop("OPENAI_API_KEY")
    if " check" in command:
        assert shop.document(LLM_PROVIDER="offline").returncode == 0
        model = shop.directory / "models/intermediate/int_order_items_summed.sql"
        sql, old = model.read_text("utf-8"), "sum(items.quantity) as"
        assert old in sql
        new = "sum(items.quantity) filter (where items.quantity > 0) as"
        model.write_text(sql.replace(old, new), "utf-8")
    done = shop.dbt_osmosis(*shlex.split(command))
    assert done.returncode == (" check" in command), done.stderr
    said = {shape(line) for line in (done.stdout + done.stderr).splitlines()}
    for line in block.code.splitlines()[1:]:
        assert line == "…" or shape(line) in said, line


def test_the_picture_of_a_column_shows_what_explain_says(shop: Shop) -> None:
    drawing = (ROOT / "docs/column-path.svg").read_text("utf-8")
    words = html.unescape(" ".join(re.findall(r"<text[^>]*>(.*?)</text>", drawing)))
    drawn = " ".join(words.split())

    def told(*arguments: str) -> Any:
        done = shop.dbt_osmosis("llm", "explain", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    column = told("fct_orders", "item_count", "--prompt")
    staged = told("stg_pos__order_items", "quantity")
    assert f"{column['kind']} over int_order_items_summed: {column['expression']}" in drawn
    assert column["why"] in drawn
    assert staged["why"].removeprefix("waits: ") in drawn
    assert told("pos.order_items", "quantity")["why"] in drawn
    prompt = " ".join(column["request"]["messages"][-1]["content"].split())
    assert drawn[drawn.index("- `item_count`") : drawn.index(" The answer:")] in prompt

    assert shop.document("models/marts", LLM_PROVIDER="offline").returncode == 0
    assert f"description: {shop.texts()['fct_orders.item_count']}" in drawn


# Figures


def table_of(page: Path, first_row: str) -> dict[str, dict[str, str]]:
    """Return a table of a page as row to column to cell, without `of 1,234`."""
    tables = re.findall(r"(?:^\|.*\|\n)+", page.read_text("utf-8"), re.MULTILINE)
    found = next(table for table in tables if f"| {first_row} |" in table)
    head, _, *lines = ([c.strip() for c in row[1:-1].split("|")] for row in found.splitlines())
    bare = [[re.sub(r" of [\d,]+$", "", cell) for cell in line] for line in lines]
    return {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in bare}


def test_the_figures_of_the_readme_are_those_of_the_benchmark() -> None:
    measured = table_of(ROOT / "benchmarks/RESULTS.md", "requests")
    shown = table_of(ROOT / "README.md", "requests")
    assert len(shown) > 5
    for title, cells in shown.items():
        assert cells == {column: measured[title][column] for column in cells}
    date = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8").split("\n")[2].split(",")[0]
    assert date in (ROOT / "README.md").read_text("utf-8")


# Messages


def templates() -> list[str]:
    """Return every text of the source, with a gap where a value stands."""

    def text_of(node: ast.AST) -> str:
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else "\0"
        if isinstance(node, ast.JoinedStr):
            return "".join(map(text_of, node.values))
        return "\0"

    return [
        re.sub(r"%[sd]", "\0", text_of(node))
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.Constant, ast.JoinedStr))
    ]


TEMPLATES = templates()
MESSAGES = re.findall(
    r"^\| `([^`]+)` \|", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE
)


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_source(message: str) -> None:
    pieces = [re.escape(piece) for piece in re.split(r" ?… ?", message) if len(piece) > 1]
    wanted = re.compile(".*".join(pieces), re.DOTALL)
    assert any(wanted.search(template) for template in TEMPLATES)


def test_troubleshooting_names_the_messages_of_the_set_up() -> None:
    assert len(MESSAGES) > 50
