"""dbt-osmosis's own `--synthesize` and this plugin's, side by side.

Both document a fresh copy of the same project through their `dbt-osmosis` command, against the same
loopback provider with latency and limits; afterwards both run once more on what dbt-osmosis wrote,
where nothing is missing. The projects are the demo and generated ones, whose lineage is known.

    python benchmarks/compare.py --sizes 60 --dbt-osmosis build/dbt-osmosis/bin/dbt-osmosis
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import lineage
import report
from figures import MODEL, PROVIDER, Figures, Project, Took, figures, parents_in
from generate import Table, generate
from provider import Conditions, Provider
from tests.conftest import BIN, KEY, Shop, build_project, clean_environment
from tests.server import LoopbackServer

import ledger

SIZES = (60, 300, 1000)
_PACKAGES = ("dbt-osmosis-llm", "dbt-osmosis", "dbt-core", "dbt-duckdb", "openai", "sqlglot")


# A child's peak memory begins with that of the process that starts it: this one stays small.
_WATCH = """
import json, os, subprocess, sys, time
started = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=2)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps({
    "seconds": time.monotonic() - started,
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "peak_mb": usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
    "exit_code": os.waitstatus_to_exitcode(status),
}))
process.returncode = 0
"""


@dataclass(frozen=True)
class Tool:
    """A `dbt-osmosis` command, in whichever environment it is installed."""

    name: str
    command: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, directory: Path, *arguments: str, url: str, may_fail: bool = False) -> Took:
        """Run `yaml document --synthesize` in a project, with a provider's address."""
        environ = clean_environment(
            LLM_PROVIDER=PROVIDER, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=url, OPENAI_MODEL=MODEL
        )
        environ |= {"PATH": f"{self.command.parent}{os.pathsep}{environ['PATH']}", **self.environ}
        command = [self.command, "yaml", "document", "--synthesize", "--log-level", "ERROR"]
        with (directory / "run.log").open("wb") as log:
            done = subprocess.run(
                [sys.executable, "-S", "-c", _WATCH, *command, *arguments],
                cwd=directory,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=log,
                check=True,
            )
        took = Took(**json.loads(done.stdout))
        if took.exit_code and not may_fail:
            raise RuntimeError((directory / "run.log").read_text()[-3000:])
        return took

    def parse(self, directory: Path) -> None:
        """Let dbt read a project and leave its cache."""
        command = [self.command.parent / "dbt", "parse", "--quiet"]
        subprocess.run(command, cwd=directory, env=clean_environment(), check=True)

    @property
    def versions(self) -> dict[str, str]:
        """What is installed beside the command."""
        script = (
            "import importlib.metadata as m, json, sys\n"
            f"found = {{d.name.lower(): d.version for d in m.distributions()}}\n"
            f"print(json.dumps({{n: found[n] for n in {_PACKAGES!r} if n in found}}))"
        )
        python = self.command.parent / "python"
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
        versions: dict[str, str] = json.loads(done.stdout)
        return versions


def tools(host: Path | None) -> tuple[Tool, Tool]:
    """Return dbt-osmosis alone and with the plugin; without another environment, switched off."""
    alone = Tool("dbt-osmosis", BIN / "dbt-osmosis", {"DBT_OSMOSIS_LLM": "off"})
    if host is not None:
        alone = Tool("dbt-osmosis", host.absolute())
        if "dbt-osmosis-llm" in alone.versions:
            raise SystemExit(f"{host} has the plugin; it must not")
    return alone, Tool("dbt-osmosis-llm", BIN / "dbt-osmosis")


def read_project(directory: Path, tables: Sequence[Table]) -> Project:
    """Return a project as it is in its files, with its lineage if it is known."""
    sql = {path.stem: path.read_text() for path in directory.glob("models/**/*.sql")}
    return Project(sql, Shop(directory, {}).texts(), tables)


def document(tool: Tool, project: Project, directory: Path, given: Conditions) -> Figures:
    """Document a project, for good, and return what came of it."""
    provider = Provider(given)
    with LoopbackServer().running() as server:
        server.script = provider
        started_at = time.monotonic()
        threads = ["--threads", str(given.concurrency)]
        # dbt-osmosis ends with its first request that fails for good; that is a result, too.
        took = tool.run(directory, *threads, url=server.url, may_fail=True)
    after = Shop(directory, {}).texts()
    parents = parents_in(directory / "target" / "manifest.json")
    return figures(project, after, provider.served, parents, given, started_at, took)


def run_idle(both: tuple[Tool, Tool], directory: Path, repeats: int) -> dict[str, Any]:
    """Run both in turn on a project in which nothing is missing; return the medians."""
    taken: dict[str, list[Took]] = {tool.name: [] for tool in both}
    with LoopbackServer().running() as server:
        if not all(Shop(directory, {}).texts().values()):  # it ended early
            server.script = Provider(Conditions(0, 10**9, 10**9, 1))
            both[0].run(directory, url=server.url)
            server.requests.clear()
        both[0].parse(directory)  # both read dbt's cache of it
        before = _yaml_files(directory)
        for _ in range(repeats):
            for tool in both:
                taken[tool.name].append(tool.run(directory, url=server.url))
        if server.requests or _yaml_files(directory) != before:
            raise SystemExit(f"something was missing in {directory}")
    return {
        name: {
            key: statistics.median(getattr(one, key) for one in runs)
            for key in ("seconds", "cpu_s", "peak_mb")
        }
        for name, runs in taken.items()
    }


def _yaml_files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((directory / "models").rglob("*.yml"))}


def measure(
    name: str,
    built: Path,
    tables: Sequence[Table],
    both: tuple[Tool, Tool],
    given: Conditions,
    repeats: int,
) -> dict[str, Any]:
    """Return the figures of one project, as JSON has them."""
    project = read_project(built, tables)
    found: dict[str, Any] = {"name": name, "models": len(project.models), "runs": {}}
    for tool in both:
        directory = built.parent / tool.name
        shutil.copytree(built, directory)
        found["runs"][tool.name] = asdict(document(tool, project, directory, given))
        _say(f"{name}: {tool.name} took {found['runs'][tool.name]['seconds']:.0f} s")
    if repeats:
        # dbt-osmosis would rewrite what the plugin left as it was.
        found["idle"] = run_idle(both, built.parent / both[0].name, repeats)
        _say(f"{name}: {2 * repeats} runs without a request")
    return found


def measure_all(
    both: tuple[Tool, Tool], given: Conditions, sizes: Sequence[int], repeats: int, *, demo: bool
) -> Iterator[dict[str, Any]]:
    """Make and measure one project after the other."""
    with tempfile.TemporaryDirectory() as scratch:
        if demo:
            built = build_project("demo", Path(scratch) / "demo" / "built")
            yield measure("demo", built, (), both, given, 0)
        for size in sizes:
            built = Path(scratch) / str(size) / "built"
            tables = generate(built, size)
            idle = repeats if size in (min(sizes), max(sizes)) else 0  # enough to see the growth
            yield measure(f"{size:,} models", built, tables, both, given, idle)
            shutil.rmtree(built.parent)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="models, e.g. 60,300")
    parser.add_argument("--no-demo", action="store_true", help="generated projects alone")
    parser.add_argument("--dbt-osmosis", type=Path, help="the command without the plugin")
    parser.add_argument("--repeats", type=int, default=1, help="of the runs without a request")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds")
    parser.add_argument("--requests-per-minute", type=int, default=600)
    parser.add_argument("--tokens-per-minute", type=int, default=1_000_000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--all", action="store_true", help="reading SQL and the ledger, too")
    parser.add_argument("--results", type=Path, help="where to write RESULTS.md and results.json")
    asked = parser.parse_args()
    both = tools(asked.dbt_osmosis)
    given = Conditions(
        asked.latency, asked.requests_per_minute, asked.tokens_per_minute, asked.concurrency
    )
    results = report.head(given, {tool.name: tool.versions for tool in both})
    sizes = [int(size) for size in asked.sizes.split(",")]
    if asked.all:
        results |= {"lineage": lineage.measure(), "ledger": ledger.measure()}
        _say("reading SQL and the ledger are measured")
    results["projects"] = []
    for project in measure_all(both, given, sizes, asked.repeats, demo=not asked.no_demo):
        results["projects"].append(project)
        results["load_after"] = os.getloadavg()[0]
        if asked.results:  # after each, so that the hours of a long run are not lost
            write(results, asked.results)
    print(report.report(results))


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Write what is measured so far, for people and for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(report.report(results))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
