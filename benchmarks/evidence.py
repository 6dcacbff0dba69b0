"""What reading SQL takes, whether it is right, and what of it reaches prompts and YAML files.

All on a generated project, whose lineage is known. `lineage` reads the models' SQL; `prompts`
documents the project through the installed `dbt-osmosis` command against a loopback server and
looks at what the server got and what was written.

    python benchmarks/evidence.py lineage --models 1000
    python benchmarks/evidence.py prompts --models 60
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import sqlglot
from generate import Column, Table, generate, invent, sql_of
from schedule import Row, print_table, run
from tests.conftest import Shop, clean_environment
from tests.server import LoopbackServer, Recorded

from dbt_osmosis_llm.evidence.cache import FactsCache
from dbt_osmosis_llm.evidence.lineage import ColumnKind, ColumnLineage, Leaf, QueryFacts

_UNCHANGED = (ColumnKind.PASS, ColumnKind.RENAME)


def row(figure: str, measured: str, target: str, is_met: bool) -> Row:
    """Return a line of the report."""
    met = "yes" if is_met else "NO"
    return {"figure": figure, "measured": measured, "target": target, "met": met}


@dataclass
class Share:
    """How many of some things are as they should be, and the first that are not."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)

    def count(self, name: str, *, is_right: bool) -> None:
        if is_right:
            self.right += 1
        else:
            self.wrong.append(name)

    def row(self, figure: str, at_least: float) -> Row:
        """Return a line of the report."""
        total = self.right + len(self.wrong)
        share = self.right / total if total else 0.0
        measured = f"{share:.2%} of {total:,}"
        if self.wrong:
            measured += f" (not {', '.join(self.wrong[:2])})"
        return row(figure, measured, f"at least {at_least:.0%}", share >= at_least)


def relation(table: str) -> str:
    """Return a table's name as dbt writes it into SQL, without quotes."""
    return f"generated.{'raw' if table.startswith('raw_') else 'main'}.{table}"


def read_all(tables: Sequence[Table], cache: FactsCache) -> tuple[float, dict[str, QueryFacts]]:
    """Read every model; return the CPU time in seconds, without that of making the SQL."""
    names = {table.name: [column.name for column in table.columns] for table in tables}
    models = [table for table in tables if table.layer]
    queries = [
        (
            sql_of(model, lambda name: ".".join(f'"{p}"' for p in relation(name).split("."))),
            {relation(parent): names[parent] for parent in model.parents},
        )
        for model in models
    ]
    started_s = time.process_time()
    found = [cache.facts(sql, "duckdb", schema) for sql, schema in queries]
    took_s = time.process_time() - started_s
    return took_s, {model.name: facts for model, facts in zip(models, found, strict=True)}


def true_leaves(column: Column) -> set[Leaf]:
    """Return the columns that a column is really made of."""
    return {Leaf(relation(table), name) for table, name in column.origins}


def is_right(column: Column, found: ColumnLineage | None) -> bool:
    """Tell whether a column's kind and all its leaves are as they are in truth."""
    if found is None or set(found.leaves) != true_leaves(column):
        return False
    if column.kind == "derived":
        return not found.is_plain and found.kind not in (*_UNCHANGED, ColumnKind.UNKNOWN)
    return found.is_plain and found.kind.value == column.kind


def measure_lineage(models: int, seed: int) -> list[Row]:
    """Read the SQL of all models twice, the second time out of the cache."""
    tables = invent(models, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        times_s = []
        answers = []
        for _ in range(2):
            cache = FactsCache(Path(scratch) / "lineage.db")
            took_s, facts = read_all(tables, cache)
            cache.close()
            times_s.append(took_s)
            answers.append(facts)
    shares: dict[str, Share] = {"derived": Share(), "pass": Share(), "rename": Share()}
    wrong_edges = 0
    for table in tables:
        for column in table.columns if table.layer else ():
            found = answers[0][table.name].column(column.name)
            name = f"{table.name}.{column.name}"
            shares[column.kind].count(name, is_right=is_right(column, found))
            wrong_edges += len(set(found.leaves) - true_leaves(column)) if found else 0
    differing = sum(answers[0][name] != answers[1][name] for name in answers[0])
    cold_s, warm_s = (took_s * 1000 / models for took_s in times_s)
    reader = f"sqlglot {sqlglot.__version__}, {'compiled' if is_compiled() else 'pure Python'}"
    return [
        row(f"1,000 models cold, CPU ({reader})", f"{cold_s:.2f} s", "at most 30 s", cold_s <= 30),
        row("1,000 models warm, CPU", f"{warm_s:.2f} s", "under 1 s", warm_s < 1),
        row("warm answers that differ", f"{differing}", "0", not differing),
        shares["derived"].row("derived columns with exactly their leaves", 0.98),
        shares["pass"].row("pass-throughs with their origin", 0.99),
        shares["rename"].row("renames with their origin", 0.99),
        row("wrong edges", f"{wrong_edges}", "0", not wrong_edges),
    ]


def is_compiled() -> bool:
    """Tell whether sqlglot runs with one of its compiled extras."""
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    ours = [name for name in files if "sqlglot" in name]
    return not all(name.endswith(".py") for name in ours)


_MODEL = re.compile(r"(?:The|of the) model `([^`]+)`")
_SQL = re.compile(r"<sql>.*?</sql>", re.DOTALL)
_COLUMNS = re.compile(r"<columns>\n(.*?)\n</columns>", re.DOTALL)
_BLOCK = re.compile(r"^- `([^`]+)`(.*?)(?=^- `|\Z)", re.DOTALL | re.MULTILINE)


class Asked:
    """What the requests about one model said."""

    def __init__(self) -> None:
        self.requests = 0
        self.blocks: dict[str, str] = {}
        """By column asked for: what is said of what defines it."""
        self.said: dict[str, str] = {}
        """By column asked for: its request without the SQL, on one line."""

    def add(self, request: Recorded) -> None:
        self.requests += 1
        prompt = request.turns[-1][1]
        found = _COLUMNS.search(prompt)
        blocks = dict(_BLOCK.findall(found[1])) if found else {}
        columns = request.schema["properties"].get("columns", {"properties": {}})
        for name in columns["properties"]:
            self.blocks[name] = blocks.get(name, "")
            self.said[name] = one_line(_SQL.sub("", prompt))


def one_line(text: str) -> str:
    return " ".join(text.split())


def shape_of(expression: str) -> str:
    """Return an expression without what may be written in several ways."""
    bare = re.sub(r"\b(?:t\d+|\w+_\d{4})\.", "", expression)  # aliases and tables
    return re.sub(r"[\s`\"]", "", bare).lower()


def prompt_shares(models: int = 60, seed: int = 0) -> list[Row]:
    """Document a generated project and look at the prompts and the files."""
    asked: dict[str, Asked] = {}
    with tempfile.TemporaryDirectory() as scratch, LoopbackServer().running() as server:
        directory = Path(scratch) / "project"
        tables = generate(directory, models, seed=seed)
        tell_apart(directory / "models" / "_sources.yml")
        run(directory, "--synthesize", OPENAI_BASE_URL=server.url)
        texts = Shop(directory, clean_environment()).texts()
        for request in server.requests:
            found = _MODEL.search(request.turns[-1][1])
            if found:
                asked.setdefault(found[1], Asked()).add(request)
        tokens, requests = server.input_tokens, len(server.requests)
    rows = shares_of(tables, texts, asked)
    derived = [t.name for t in tables if any(column.kind == "derived" for column in t.columns)]
    counts = Counter(asked[name].requests if name in asked else 0 for name in derived)
    mean = statistics.mean(counts.elements())
    figure = f"requests for a model with a derived column ({requests}, {tokens:,} prompt tokens)"
    measured = f"{mean:.2f}, most {max(counts)}"
    return [*rows, row(figure, measured, "at most 1", max(counts) <= 1)]


def tell_apart(sources: Path) -> None:
    """Give each column of the sources a text that no other column has."""
    text = sources.read_text()
    numbered = re.sub(r"(- name: \w+_(\d+)\n +description: .*)\.\n", r"\1, kept as \2.\n", text)
    sources.write_text(numbered)


def shares_of(
    tables: Sequence[Table], texts: Mapping[str, str], asked: Mapping[str, Asked]
) -> list[Row]:
    """Compare what was asked and written with the known lineage."""
    expressions, upstream, copied = Share(), Share(), Share()
    for table in tables:
        about = asked.get(table.name, Asked())
        for column in table.columns if table.layer else ():
            name = f"{table.name}.{column.name}"
            origins = [texts[f"{parent}.{origin}"] for parent, origin in column.origins]
            if column.kind == "derived":
                block = about.blocks.get(column.name, "")
                defined = shape_of(column.expression) in shape_of(block)
                expressions.count(name, is_right=defined)
                said = about.said.get(column.name, "")
                told = all(one_line(text) in said for text in origins if text)
                upstream.count(name, is_right=bool(said) and told)
            elif origins[0]:
                is_copy = texts[name] == origins[0] and column.name not in about.blocks
                copied.count(name, is_right=is_copy)
    return [
        expressions.row("derived columns whose expression is in their prompt", 0.98),
        upstream.row("derived columns with all upstream texts in their prompt", 1.0),
        copied.row("pass-throughs and renames with their origin's text, not asked for", 0.99),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, models in (("lineage", 1000), ("prompts", 60)):
        command = commands.add_parser(name)
        command.add_argument("--models", type=int, default=models)
        command.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    measure = measure_lineage if given.command == "lineage" else prompt_shares
    print_table(measure(given.models, given.seed))


if __name__ == "__main__":
    main()
