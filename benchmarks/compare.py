"""dbt-osmosis's own `--synthesize` and this plugin's, side by side on the demo project.

Both document a fresh copy through the installed `dbt-osmosis` command, against a loopback server
that answers every request well. Counted: requests, tokens (four characters each), texts, and how
many requests about a model hold that model's SQL. Run with `make bench`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.conftest import Shop, build_project, clean_environment
from tests.server import LoopbackServer, Recorded, Reply, text_for

from dbt_osmosis_llm.llm.usage import Price, Usage

MODEL = "gpt-6-luna"


def answer_to_host(request: Recorded, number: int) -> Reply | None:
    """dbt-osmosis asks for JSON in words, with the columns in a SELECT that it made up."""
    if "response_format" in request.body or "ONLY VALID JSON" not in request.text:
        return None
    select = re.search(r"SELECT (.*?) FROM", request.text, re.DOTALL)
    names = select[1].split(", ") if select else []
    columns = [{"name": name, "description": text_for(name)} for name in names]
    return Reply(content=json.dumps({"description": text_for("table"), "columns": columns}))


def measure(built: Path, directory: Path, server: LoopbackServer, *, plugin: bool) -> list[str]:
    server.reset()
    server.script = answer_to_host
    shutil.copytree(built, directory)
    environ = clean_environment(
        OPENAI_API_KEY="none",
        OPENAI_BASE_URL=server.url,
        OPENAI_MODEL=MODEL,
        DBT_OSMOSIS_LLM="on" if plugin else "off",
    )
    shop = Shop(directory, environ)
    before = shop.texts()
    done = shop.document("--log-level", "WARNING")
    assert done.returncode == 0, done.stderr
    after = shop.texts()
    models = [path.read_text() for path in directory.glob("models/**/*.sql")]
    lines = {line.strip() for sql in models for line in sql.splitlines()}
    phrases = [line for line in lines if len(line) > 12 and " " in line and "{" not in line]
    holding = sum(any(p in request.text for p in phrases) for request in server.requests)
    written = sum(1 for key, text in after.items() if text and not before.get(key))
    cost = Price("openai", MODEL).of(
        Usage(input_tokens=server.input_tokens, output_tokens=server.output_tokens)
    )
    return [
        f"dbt-osmosis-llm {version('dbt-osmosis-llm')}"
        if plugin
        else f"dbt-osmosis {version('dbt-osmosis')} alone",
        f"{len(server.requests)}",
        f"{server.input_tokens:,}",
        f"{server.output_tokens:,}",
        f"${cost:.4f}",
        f"{holding} of {len(server.requests)}",
        f"{written}",
    ]


def main() -> None:
    head = ["", "requests", "prompt tokens", "completion tokens", f"cost ({MODEL})"]
    head += ["requests with SQL of the project", "texts written"]
    with tempfile.TemporaryDirectory() as scratch, LoopbackServer().running() as server:
        built = build_project("demo", Path(scratch) / "built")
        rows = [
            measure(built, Path(scratch) / name, server, plugin=name == "plugin")
            for name in ("host", "plugin")
        ]
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
