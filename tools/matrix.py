"""Runs the tests on every supported Python, with the newest and the oldest packages.

Each cell has an environment of its own under build/matrix, made anew: what is resolved there is
what a user would get today, so `constraints.txt` is left out on purpose. The oldest packages are
those that a user's environment can hold, the tools of the tests are the newest that fit beside
them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "matrix"
UV = Path(sys.executable).parent / "uv"
PYTHONS = "3.10 3.11 3.12 3.13"
RESOLUTIONS = "highest lowest-direct"
# The oldest packages have wheels for these alone; elsewhere they would be compiled.
OLDEST_ON = ("3.10", "3.11")
# The newest adapter asks for parts of dbt's that the oldest dbt-core's time did not have.
OLDEST_ADAPTER = "dbt-duckdb<1.9"
SHOWN = ("dbt-core", "dbt-osmosis", "openai", "anthropic", "google-genai", "sqlglot")


@dataclass
class Cell:
    """One Python with one resolution, and what became of the tests there."""

    python: str
    resolution: str
    versions: dict[str, str] = field(default_factory=dict)
    result: str = ""
    is_green: bool = False

    @property
    def place(self) -> Path:
        """The folder of the environment; the log and the pins stand in it."""
        return PLACE / f"{self.python}-{self.resolution}"

    @property
    def interpreter(self) -> Path:
        """Python in the environment."""
        return self.place / ("Scripts" if os.name == "nt" else "bin") / "python"


def cells(pythons: list[str], resolutions: list[str]) -> Iterator[Cell]:
    """Return the cells to run."""
    for python in pythons:
        for resolution in resolutions:
            if resolution == "highest" or python in OLDEST_ON:
                yield Cell(python, resolution)


def interpreter_of(python: str) -> str:
    """Return the path of an interpreter that pyenv has, or what uv is to look for."""
    if which("pyenv"):
        asked = subprocess.run(
            ["pyenv", "root"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
        versions = Path(asked.stdout.strip()) / "versions"
        for found in sorted(versions.glob(f"{python}.*/bin/python")):
            return str(found)
    return python


def run_cell(cell: Cell, tests: list[str]) -> None:
    """Make the environment of a cell and run the tests in it."""
    try:
        install(cell)
        cell.versions = installed(cell)
    except subprocess.CalledProcessError as error:
        cell.result = f"no environment: {error.stderr.strip()}"
        return
    log = cell.place / "tests.log"
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [cell.interpreter, "-m", "pytest", "-p", "no:cacheprovider", *tests],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    lines = log.read_text("utf-8").splitlines()
    cell.is_green = done.returncode == 0
    cell.result = lines[-1].strip("= ") if lines else f"exit code {done.returncode}"
    for line in lines:
        if not cell.is_green and line.startswith(("FAILED", "ERROR")):
            say(f"  {line}")


def install(cell: Cell) -> None:
    """Install this package, editable, and what its tests need.

    Raises:
        subprocess.CalledProcessError: There is no such Python, or the packages cannot be had.
    """
    uv("venv", "--clear", "--python", interpreter_of(cell.python), str(cell.place))
    pins = cell.place / "pins.txt"
    resolve = ("--resolution", cell.resolution, "--python", str(cell.interpreter))
    uv("pip", "compile", *resolve, "--all-extras", "pyproject.toml", "--output-file", str(pins))
    into = ("--python", str(cell.interpreter), "--constraint", str(pins))
    adapter = [] if cell.resolution == "highest" else [OLDEST_ADAPTER]
    uv("pip", "install", *into, "--group", "dev", "--editable", ".", *adapter)


def installed(cell: Cell) -> dict[str, str]:
    """Return the versions of the packages that the table shows."""
    listed = json.loads(uv("pip", "list", "--python", str(cell.interpreter), "--format", "json"))
    return {row["name"]: row["version"] for row in listed if row["name"] in SHOWN}


def uv(*arguments: str) -> str:
    """Run uv and return its output; it takes packages from a registry and Python from here."""
    return subprocess.run(
        [UV, *arguments],
        cwd=ROOT,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def table(run: list[Cell]) -> str:
    """Return the cells as a table in Markdown."""
    lines = [["Python", "resolution", *SHOWN, "", "tests"], ["---"] * (len(SHOWN) + 4)]
    for cell in run:
        versions = [cell.versions.get(name, "") for name in SHOWN]
        state = "passed" if cell.is_green else "FAILED"
        result = " ".join(cell.result.split()).replace("|", "/")
        lines.append([cell.python, cell.resolution, *versions, state, result])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the cells one after another; exit code 1 when one of them is red."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", default=PYTHONS, help="For example '3.10 3.13'.")
    parser.add_argument("--resolutions", default=RESOLUTIONS, help="As uv calls them.")
    parser.add_argument("tests", nargs="*", help="What pytest runs; everything if left out.")
    arguments = parser.parse_args()
    chosen = list(cells(arguments.pythons.split(), arguments.resolutions.split()))
    if not chosen:
        parser.error(f"the oldest packages are tested on Python {' and '.join(OLDEST_ON)} alone.")
    for cell in chosen:
        say(f"Python {cell.python}, {cell.resolution} …")
        run_cell(cell, arguments.tests)
        say(f"  {cell.result}")
    say(table(chosen))
    sys.exit(0 if all(cell.is_green for cell in chosen) else 1)


if __name__ == "__main__":
    main()
