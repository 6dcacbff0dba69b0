"""What came of one run: from what the provider was asked, and from the files before and after.

Nothing here knows which tool ran, and lineage is what the generator made, not what a tool found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from generate import Table
from provider import Conditions, Served

from dbt_osmosis_llm.llm.messages import Usage
from dbt_osmosis_llm.llm.usage import Price

PROVIDER, MODEL = "openai", "gpt-6-luna"


@dataclass(frozen=True)
class Took:
    """What one run of the command took."""

    seconds: float
    cpu_s: float
    peak_mb: float
    exit_code: int


@dataclass(frozen=True)
class Project:
    """A project before the run, and what is known of it."""

    models: Mapping[str, str]
    """Name to SQL as it is in the file."""
    texts: Mapping[str, str]
    """By ``table`` or ``table.column``, empty where there is none."""
    lineage: Sequence[Table] = ()
    """Empty when nobody knows it."""


@dataclass(frozen=True)
class Figures:
    """What one tool did with one project."""

    exit_code: int
    models: int
    columns: int
    """Of models."""
    texts_written: int
    """Of tables and columns, sources and seeds included."""
    texts_missing: int
    """After the run."""
    requests: int
    refused: int
    """Requests answered 429, on top of ``requests``."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float | None
    model_requests: int
    """Requests about models: what else there is has no SQL."""
    with_sql: int
    """Of these, the ones that hold the model's SQL."""
    derived: int
    """Derived columns, all without a text before."""
    with_expression: int
    """Of these, the ones asked for with their expression in the prompt."""
    with_upstream_texts: int
    """Of these, the ones asked for with the texts of all columns they are made of."""
    undocumented: int
    """Columns of models without a text before."""
    free: int
    """Of these, the ones that have a text now which no request about their table brought."""
    passed: int
    """Pass-throughs and renames whose origin has a text now."""
    same_text: int
    """Of these, the ones with the text of the column that they are."""
    order_violations: int
    most_at_once: int
    seconds: float
    cpu_s: float
    peak_mb: float
    before_s: float
    """Until the first request."""
    phase_s: float
    """From the first request to the last answer."""
    bound_s: float
    """Below which no run with these requests can stay."""
    bound_by: str


def figures(
    project: Project,
    after: Mapping[str, str],
    served: Sequence[Served],
    parents: Mapping[str, Sequence[str]],
    given: Conditions,
    started_at: float,
    took: Took,
) -> Figures:
    """Return what the files and the provider tell of a run.

    Args:
        project: Before the run.
        after: Texts after it, as in the project.
        served: What the provider was asked.
        parents: Tables that each table reads.
        given: What the provider allowed.
        started_at: On the provider's clock.
        took: Time and memory.
    """
    answered = [one for one in served if one.status == 200]
    usage = Usage(
        input_tokens=sum(one.prompt_tokens for one in answered),
        cached_tokens=sum(one.cached_tokens for one in answered),
        output_tokens=sum(one.output_tokens for one in answered),
    )
    about_models = [one for one in answered if one.asked.node in project.models]
    # dbt-osmosis adds the columns that a YAML file lacks.
    columns = [key for key in after if "." in key and key.split(".")[0] in project.models]
    undocumented = [key for key in columns if not project.texts.get(key)]
    first_at = min((one.arrived_at for one in served), default=started_at)
    bound_by, bound_s = lower_bound(answered, parents, given)
    return Figures(
        exit_code=took.exit_code,
        models=len(project.models),
        columns=len(columns),
        texts_written=sum(bool(text) and not project.texts.get(key) for key, text in after.items()),
        texts_missing=sum(not text for text in after.values()),
        requests=len(answered),
        refused=len(served) - len(answered),
        prompt_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.output_tokens,
        cost_usd=cost_usd(answered),
        model_requests=len(about_models),
        with_sql=sum(_holds(one.prompt, project.models[one.asked.node]) for one in about_models),
        **_derived(project, after, answered),
        undocumented=len(undocumented),
        free=_free(undocumented, after, answered),
        **_passed(project, after),
        order_violations=order_violations(served, parents),
        most_at_once=_most_at_once(served),
        seconds=took.seconds,
        cpu_s=took.cpu_s,
        peak_mb=took.peak_mb,
        before_s=first_at - started_at,
        phase_s=max((one.answered_at for one in served), default=first_at) - first_at,
        bound_s=bound_s,
        bound_by=bound_by,
    )


def cost_usd(answered: Iterable[Served]) -> float | None:
    """Return the cost request by request: long prompts have other prices than short ones."""
    price = Price(PROVIDER, MODEL)
    costs = [
        price.of(Usage(one.prompt_tokens, one.cached_tokens, one.output_tokens)) for one in answered
    ]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def parents_in(manifest: Path) -> dict[str, list[str]]:
    """Return by name which tables each table of a dbt project reads."""
    content = json.loads(manifest.read_text())
    found = {**content["nodes"], **content["sources"]}
    names = {
        unique_id: node["name"]
        for unique_id, node in found.items()
        if node["resource_type"] in ("model", "seed", "snapshot", "source")
    }
    return {
        name: [
            names[other]
            for other in found[unique_id].get("depends_on", {}).get("nodes", ())
            if other in names
        ]
        for unique_id, name in names.items()
    }


def order_violations(served: Iterable[Served], parents: Mapping[str, Sequence[str]]) -> int:
    """Count the requests that came before an answer about a table that theirs reads."""
    served = list(served)
    answered_at: dict[str, float] = {}
    for one in served:
        if one.status == 200:
            node = one.asked.node
            answered_at[node] = max(answered_at.get(node, 0.0), one.answered_at)
    return sum(
        any(one.arrived_at < answered_at.get(p, 0.0) for p in parents[one.asked.node])
        for one in served
    )


def lower_bound(
    answered: Sequence[Served], parents: Mapping[str, Sequence[str]], given: Conditions
) -> tuple[str, float]:
    """Return what keeps a run with these requests from being faster, and the seconds it takes."""
    slowest: dict[str, float] = {}
    for one in answered:
        slowest[one.asked.node] = max(slowest.get(one.asked.node, 0.0), one.latency_s)
    path: dict[str, float] = {}
    for node in TopologicalSorter(parents).static_order():
        before = max((path[parent] for parent in parents.get(node, ())), default=0.0)
        path[node] = before + slowest.get(node, 0.0)
    tokens = sum(one.prompt_tokens + one.output_tokens for one in answered)
    bounds = {
        "requests/min": 60 * len(answered) / given.requests_per_minute,
        "tokens/min": 60 * tokens / given.tokens_per_minute,
        "concurrency": sum(one.latency_s for one in answered) / given.concurrency,
        "longest path": max(path.values(), default=0.0),
    }
    return max(bounds.items(), key=lambda item: item[1])


def _most_at_once(served: Iterable[Served]) -> int:
    served = list(served)
    steps = [(one.arrived_at, 1) for one in served] + [(one.answered_at, -1) for one in served]
    level = most = 0
    for _, step in sorted(steps):
        level += step
        most = max(most, level)
    return most


def _holds(prompt: str, sql: str) -> bool:
    """Tell whether a prompt holds most of the lines of a model's SQL that are its own."""
    lines = {line.strip() for line in sql.splitlines()}
    own = [line for line in lines if len(line) > 12 and " " in line and "{" not in line]
    return sum(line in prompt for line in own) > len(own) / 2


def _derived(
    project: Project, after: Mapping[str, str], answered: Iterable[Served]
) -> dict[str, int]:
    """Count the derived columns whose prompts say what they are made of."""
    prompts: dict[tuple[str, str], list[str]] = {}
    for one in answered:
        said = _one_line(one.prompt)
        for column in one.asked.columns:
            prompts.setdefault((one.asked.node, column), []).append(said)
    counts = {"derived": 0, "with_expression": 0, "with_upstream_texts": 0}
    for table in project.lineage:
        shapes: dict[str, str] = {}  # of the prompts about this table
        for column in table.columns:
            if column.kind != "derived":
                continue
            counts["derived"] += 1
            told = prompts.get((table.name, column.name), [])
            shape = _shape(column.expression)
            for said in told:
                shapes.setdefault(said, _shape(said))
            origins = [after[f"{parent}.{origin}"] for parent, origin in column.origins]
            counts["with_expression"] += any(shape in shapes[said] for said in told)
            counts["with_upstream_texts"] += any(
                all(_one_line(text) in said for text in origins) for said in told
            )
    return counts


def _free(undocumented: Iterable[str], after: Mapping[str, str], answered: Iterable[Served]) -> int:
    """Count the columns whose text no request about their own table brought."""
    asked = {(one.asked.node, _one_line(text)) for one in answered for text in one.texts.values()}
    written = ((name.partition(".")[0], after.get(name, "")) for name in undocumented)
    return sum(bool(text) and (table, _one_line(text)) not in asked for table, text in written)


def _passed(project: Project, after: Mapping[str, str]) -> dict[str, int]:
    """Count the columns that are another one unchanged, and those with its text."""
    counts = {"passed": 0, "same_text": 0}
    for table in project.lineage:
        for column in table.columns:
            if column.kind in ("pass", "rename"):
                ((parent, origin),) = column.origins
                if text := after[f"{parent}.{origin}"]:
                    counts["passed"] += 1
                    counts["same_text"] += text == after[f"{table.name}.{column.name}"]
    return counts


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shape(expression: str) -> str:
    """Return an expression without what may be written in several ways."""
    bare = re.sub(r"\b(?:t\d+|\w+_\d{4})\.", "", expression)  # aliases and tables
    return re.sub(r"[\s`\"]", "", bare).lower()
