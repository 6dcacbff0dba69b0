"""The results of a comparison as tables in Markdown, with all that is needed to judge them."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from figures import MODEL, PROVIDER
from provider import OUTPUT_TOKENS_PER_S, Conditions
from rows import markdown

from dbt_osmosis_llm.llm.messages import Usage
from dbt_osmosis_llm.llm.usage import Price

Run = Mapping[str, Any]


def head(given: Conditions, versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return how a comparison is made, as JSON has it; nothing is measured yet."""
    price = Price(PROVIDER, MODEL)
    # Of prompts as short as these: a million tokens at once would have another price.
    thousand = {
        "prompt": Usage(input_tokens=1000),
        "cached": Usage(input_tokens=1000, cached_tokens=1000),
        "completion": Usage(output_tokens=1000),
    }
    return {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "versions": versions,
        "conditions": {**asdict(given), "output_tokens_per_s": OUTPUT_TOKENS_PER_S},
        "model": MODEL,
        "usd_per_million": {
            name: 1000 * (price.of(usage) or 0.0) for name, usage in thousand.items()
        },
    }


def _share(part: str, whole: str) -> Callable[[Run], str]:
    def cell(run: Run) -> str:
        return f"{run[part] / run[whole]:.0%} of {run[whole]:,}" if run[whole] else "-"

    return cell


def _number(key: str) -> Callable[[Run], str]:
    return lambda run: f"{run[key]:,}"


def _seconds(key: str) -> Callable[[Run], str]:
    return lambda run: f"{run[key]:.1f} s"


ROWS: dict[str, Callable[[Run], str]] = {
    "requests": _number("requests"),
    "refused on top (429)": _number("refused"),
    "prompt tokens": _number("prompt_tokens"),
    "of them cached": _number("cached_tokens"),
    "completion tokens": _number("completion_tokens"),
    "cost": lambda run: "-" if run["cost_usd"] is None else f"${run['cost_usd']:.4f}",
    "requests about models with their SQL": _share("with_sql", "model_requests"),
    "derived columns with their expression in the prompt": _share("with_expression", "derived"),
    "derived columns with the texts they are made of": _share("with_upstream_texts", "derived"),
    "columns documented without a request": _share("free", "undocumented"),
    "unchanged and renamed columns with their origin's text": _share("same_text", "passed"),
    "requests before the answer about a parent": _number("order_violations"),
    "texts written": _number("texts_written"),
    "texts still missing": _number("texts_missing"),
    "most requests at once": _number("most_at_once"),
    "request phase": _seconds("phase_s"),
    "lower bound": lambda run: f"{run['bound_s']:.1f} s ({run['bound_by']})",
    "request phase / lower bound": lambda run: (
        f"{run['phase_s'] / run['bound_s']:.2f}" if run["bound_s"] else "-"
    ),
    "before the first request": _seconds("before_s"),
    "whole run": _seconds("seconds"),
    "CPU time": _seconds("cpu_s"),
    "peak memory": lambda run: f"{run['peak_mb']:.0f} MB",
    "exit code": _number("exit_code"),
}


def report(results: Mapping[str, Any]) -> str:
    """Return the whole report."""
    projects = results["projects"]
    parts = ["# Results", _how(results), "## Side by side", markdown(side_by_side(projects))]
    idle = [project for project in projects if "idle" in project]
    if idle:
        parts += ["## When nothing is missing", _IDLE, markdown(when_idle(idle))]
    generated = [project for project in projects if project["name"] != "demo"]
    if len(generated) > 1:
        small, large = generated[0], generated[-1]
        growth = large["models"] / small["models"]
        parts += [
            f"## From {small['name']} to {large['name']}",
            f"How many times as much, for {growth:.1f} times as many models:",
            markdown(grown(small, large)),
        ]
    for title, key in {"Reading SQL": "lineage", "The ledger": "ledger"}.items():
        if key in results:
            parts += [f"## {title}", markdown(results[key])]
    return "\n\n".join([*parts, _READING]) + "\n"


def side_by_side(projects: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each figure, with a column for each project and tool."""
    runs = {
        f"{project['name']}: {name}": run
        for project in projects
        for name, run in project["runs"].items()
    }
    return [
        {"": title, **{name: cell(run) for name, run in runs.items()}}
        for title, cell in ROWS.items()
    ]


def when_idle(projects: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each project and tool."""
    return [
        {
            "": f"{project['name']}: {name}",
            "time": f"{took['seconds']:.1f} s",
            "CPU time": f"{took['cpu_s']:.1f} s",
            "peak memory": f"{took['peak_mb']:.0f} MB",
        }
        for project in projects
        for name, took in project["idle"].items()
    ]


def grown(small: Mapping[str, Any], large: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each tool."""
    rows = []
    for name, run in large["runs"].items():
        before = small["runs"][name]
        row = {"": name}
        for title, key in {
            "requests": "requests",
            "prompt tokens": "prompt_tokens",
            "CPU time": "cpu_s",
            "peak memory": "peak_mb",
        }.items():
            row[title] = f"{run[key] / before[key]:.1f}"
        if "idle" in small and "idle" in large:
            for title, key in {"idle CPU time": "cpu_s", "idle peak memory": "peak_mb"}.items():
                row[title] = f"{large['idle'][name][key] / small['idle'][name][key]:.1f}"
        rows.append(row)
    return rows


def _how(results: Mapping[str, Any]) -> str:
    given, price = results["conditions"], results["usd_per_million"]
    versions = "; ".join(
        f"{name}: {', '.join(f'{package} {version}' for package, version in found.items())}"
        for name, found in results["versions"].items()
    )
    return f"""\
{results["date"]}, `{results["command"]}`

- Versions: {versions}; Python {results["python"]}.
- Machine: {results["cpus"]} processors, load {results["load_before"]:.1f} before and \
{results["load_after"]:.1f} after. Times are this machine's; counts and tokens are not.
- Provider: a loopback server that answers in {given["latency_s"]} s and one more for each \
{given["output_tokens_per_s"]} tokens, allows {given["requests_per_minute"]:,} requests and \
{given["tokens_per_minute"]:,} tokens a minute, enforced by the second, and refuses the rest with \
429, Retry-After and its limits in headers. Both tools may have {given["concurrency"]} requests at \
once and learn the limits from the answers.
- Cost: {results["model"]} at ${price["prompt"]:.2f} a million prompt tokens, \
${price["cached"]:.2f} cached, ${price["completion"]:.2f} completion. A token is four characters; \
the JSON schema counts as prompt. Cached is what OpenAI's rule makes of the prompts: a prefix of \
at least 1,024 tokens, schema first; what a vendor charges for writing its cache is left out."""


_IDLE = """\
Both once more on what dbt-osmosis wrote, with dbt's parse cache: no request, no file changed."""

_READING = """\
## How to read this

- The generated projects have 8 layers, 12 to 40 columns a table, about 50 % pass-throughs, 15 % \
renames and 35 % derived columns; sources are documented, models are not. The demo's lineage is \
written down nowhere, so it has no figures about lineage.
- Texts come from the server, so nothing here says how good they are. Each names the answer that \
it comes from, which shows what was inherited.
- "Without a request": the text is there, and no request about the column's own table brought it.
- "Before the answer about a parent": its prompt, or what it could inherit, lacks a text that was \
just being made.
- Lower bound: the largest of requests and tokens over their limits, the sum of latencies over the \
requests at once, and the longest path of dependent requests. It is of the tool's own requests: \
one that asks more has a higher one, and one that does not wait for parents can stay below it.
- dbt-osmosis alone runs tables in parallel in the order of the project, without waiting for a \
table's parents: where fewer tables stand beside each other than run at once, children come too \
early, inherit nothing, and are asked for whole."""
