"""Writes `docs/terminal.svg`: the demo project documented offline, as it looks on a terminal.

The text is what the commands print, cut where it gets long; rich draws it. rich's template loads a
font from elsewhere, which a picture on GitHub cannot: the reader's own is named instead.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conftest import BIN, build_project, clean_environment  # noqa: E402

PICTURE = ROOT / "docs" / "terminal.svg"
_WIDTH = 96
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
_YAML = "models/marts/_marts__models.yml"
_GIT = ("git", "-c", "user.name=demo", "-c", "user.email=demo@localhost")


def main() -> None:
    """Run the commands and write the picture."""
    with tempfile.TemporaryDirectory() as scratch:
        project = build_project("demo", Path(scratch) / "coffee_shop")
        environ = _environment()
        for command in (("init", "-q"), ("add", "models", "seeds"), ("commit", "-qm", "before")):
            _output((*_GIT, *command), project, environ)
        document = ("dbt-osmosis", "yaml", "document", "--synthesize", "--llm-stats")
        said = _output((*document, "--log-level", "ERROR"), project, environ).splitlines()
        changes = _output(("git", "diff", "-U1", "--color=always", _YAML), project, environ)
    # What dbt-osmosis itself says before that names a temporary folder.
    begin = next(i for i, line in enumerate(said) if "Documentation by" in line)
    lines = [
        _prompt("LLM_PROVIDER=offline " + " ".join(document)),
        *_cut([line.rstrip() for line in said[begin:]], 11),
        "",
        _prompt(f"git diff {_YAML}"),
        *_cut(changes.splitlines()[4:], 28),
    ]
    PICTURE.write_text(_drawn(lines), "utf-8")


def _environment() -> dict[str, str]:
    environ = clean_environment(
        LLM_PROVIDER="offline", COLUMNS=str(_WIDTH), FORCE_COLOR="1", TERM="xterm-256color"
    )
    environ.pop("NO_COLOR")
    return environ


def _output(command: Sequence[str], project: Path, environ: dict[str, str]) -> str:
    path = f"{BIN}{os.pathsep}{environ['PATH']}"
    return subprocess.run(
        command,
        cwd=project,
        env={**environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout


def _prompt(command: str) -> str:
    return f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m"


def _cut(lines: Sequence[str], most: int) -> list[str]:
    return [*lines[:most], "\x1b[2m…\x1b[0m"] if len(lines) > most else list(lines)


def _drawn(lines: Sequence[str]) -> str:
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis", crop=True)
    drawing = console.export_svg(title="coffee_shop", unique_id="terminal")
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"font-family: [^;]*;", f"font-family: {_FONT};", drawing)
    return re.sub(r"[ \t]+$", "", drawing, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
