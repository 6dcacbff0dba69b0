"""``python -m tests.differential --projects N --seed S``: a long run, failures with their seeds."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

import duckdb

from tests.differential.oracle import Fault
from tests.differential.play import Playground, play
from tests.differential.projects import Generator, Project
from tests.differential.reduction import reduce
from tests.server import LoopbackServer


def main() -> int:
    """Play projects of consecutive seeds; return 1 when any shows a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--projects", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first project")
    parser.add_argument("--reduce", action="store_true", help="look for a smaller project, too")
    parser.add_argument("--rule", default="", help="of the fault to keep; the first otherwise")
    parser.add_argument("--known", action="store_true", help="say what is known to be open, too")
    parser.add_argument("--save", type=Path, help="keep each project with a fault in this folder")
    arguments = parser.parse_args()
    rules: Counter[str] = Counter()
    failed = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, LoopbackServer().running() as server:
        playground = Playground(Path(folder) / "project", server)
        for seed in range(arguments.seed, arguments.seed + arguments.projects):
            faults = play_seed(seed, playground, known=arguments.known)
            if (done := seed - arguments.seed + 1) % 20 == 0:
                seconds = time.monotonic() - started
                print(f"{done} projects in {seconds:.0f} s, {failed} with faults", file=sys.stderr)
            if not faults:
                continue
            failed += 1
            rules.update({fault.rule for fault in faults})
            print(f"\n--seed {seed} --projects 1", flush=True)
            for fault in faults:
                print(f"  {fault}".replace("\n", "\n    "), flush=True)
            if arguments.reduce:
                rule = arguments.rule or faults[0].rule
                faults = reduce(project_of(seed), rule, playground) or faults
                print(f"  reduced: {faults[-1]}", flush=True)
            if arguments.save:
                save(playground, arguments.save / str(seed), faults)
    seconds = time.monotonic() - started
    print(
        f"\n{arguments.projects} projects in {seconds:.0f} s, {failed} with faults: {dict(rules)}"
    )
    return 1 if failed else 0


def project_of(seed: int) -> Project:
    """Return the project of a seed."""
    return Generator(Random(seed)).project()


def play_seed(seed: int, playground: Playground, *, known: bool = False) -> list[Fault]:
    """Play the project of a seed; a fault of the harness is one, too."""
    try:
        return play(project_of(seed), playground, known=known)
    except duckdb.Error:
        return []  # values that the SQL cannot cast: no such project can be built
    except Exception:  # noqa: BLE001
        return [Fault("harness", traceback.format_exc())]


def save(playground: Playground, place: Path, faults: list[Fault]) -> None:
    """Keep a project as it was and is, with what was said and what is wrong."""
    shutil.rmtree(place, ignore_errors=True)
    for name, folder in (("before", playground.begun), ("after", playground.directory)):
        ignored = shutil.ignore_patterns("target", "logs")
        shutil.copytree(folder, place / name, ignore=ignored)
    (place / "log.txt").write_text("\n".join(playground.log))
    (place / "faults.txt").write_text("\n".join(map(str, faults)) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
