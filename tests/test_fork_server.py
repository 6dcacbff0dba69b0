"""A run as a fork says, writes and ends as the same run in a process from scratch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ForkServer, clean_environment, run_command, the_server
from tests.conftest import Shop

TOOLS = ("target", "logs", ".dbt-osmosis", ".dbt-osmosis-llm")
"""What tools leave, with times and ids in it: compared by name."""


@pytest.fixture
def forks() -> ForkServer:
    server = the_server()
    if server is None:
        pytest.skip("this system does not fork")
    return server


OF_ONE_RUN = (
    (r"\d+(?:\.\d+)? ?s(?:econds)?\b|\d\d:\d\d:\d\d", "TIME"),
    (r"datetime\.datetime\([^()]*(?:\(\))?\)", "DATE"),
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"thread => \d+", "THREAD"),
    (r" {2,}", "  "),  # up to the right margin, behind all of these
)


def settled(text: str, home: Path) -> list[str]:
    """Return the lines that were said, without what differs between two runs of one kind.

    Their order is among that: dbt-osmosis puts tables into sets, and looks at them in threads, each
    of which says that its connection is new.
    """
    text = text.replace(str(home), "HOME")
    for pattern, name in OF_ONE_RUN:
        text = re.sub(pattern, name, text)
    return sorted(set(text.splitlines()))


def files(home: Path) -> dict[str, bytes]:
    """Return the files that a run has left: all by name, those with texts by content."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home)
        if path.is_file() and not set(TOOLS) & set(name.parts):
            found[str(name)] = path.read_bytes() if path.suffix in (".yml", ".sql") else b""
        elif path.is_file():
            found[re.sub(r"[0-9a-f]{16,}", "ID", str(name))] = b""
    return found


def environment(home: Path) -> dict[str, str]:
    return clean_environment(LLM_PROVIDER="offline", HOME=str(home), COLUMNS="10000")


SOMETIMES = {
    "help": ("yaml", "document", "--help"),
    "refactor": ("yaml", "refactor", "--auto-apply"),
    "check": ("llm", "check"),
    "explain": ("llm", "explain", "fct_orders", "item_count"),
    "providers": ("llm", "providers"),
    "plan": ("yaml", "document", "--synthesize", "--llm-dry-run"),
    "unknown option": ("yaml", "document", "--no-such-option"),
    "no table": ("llm", "explain", "nothing_of_the_kind"),
}
COMMANDS = {
    "document": ("yaml", "document", "--synthesize", "--llm-stats"),
    "our user's mistake": ("yaml", "document", "--synthesize", "--llm-timeout", "soon"),
    "no project": ("yaml", "document", "--project-dir", "nowhere"),
    **SOMETIMES,
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SOMETIMES)) for n in COMMANDS]
)
def test_commands(name: str, built_demo: Path, tmp_path: Path, forks: ForkServer) -> None:
    found = []
    for process in (False, True):
        home = tmp_path / "ab"[process]
        shop = Shop(home / "shop", environment(home), process)
        shutil.copytree(built_demo, shop.directory, symlinks=True)
        assert forks.suits(shop.environ)
        done = shop.dbt_osmosis(*COMMANDS[name])
        said = settled(done.stdout, home), settled(done.stderr, home)
        found.append((done.returncode, *said, files(home)))
    assert found[0] == found[1]


def test_dbt(built_demo: Path, tmp_path: Path, forks: ForkServer) -> None:
    found = []
    for process in (False, True):
        home = tmp_path / "ab"[process]
        shutil.copytree(built_demo, home / "shop", symlinks=True)
        environ = environment(home)
        done = run_command(
            *("dbt", "run", "--select", "stg_pos__orders"),
            directory=home / "shop",
            environ=environ,
            process=process,
        )
        said = settled(done.stdout, home), settled(done.stderr, home)
        found.append((done.returncode, *said, files(home)))
    assert found[0][0] == 0, found[0][1]
    assert found[0] == found[1]


ENDS = {
    "nothing": "pass",
    "number": "import sys; sys.exit(3)",
    "big number": "import sys; sys.exit(256 + 7)",
    "text": "import sys; sys.exit('that is why')",
    "none": "raise SystemExit",
    "no newline": "print('half a line', end=''); import sys; sys.exit(True)",
    "exception": "def f(): raise ValueError('broken')\nprint('begun')\nf()",
    "registered": "import atexit\natexit.register(print, 'first')\natexit.register(print, 'last')",
    "thread": (
        "import threading, time\n"
        "def work(): time.sleep(0.2); print('done')\n"
        "threading.Thread(target=work).start()\nprint('begun')"
    ),
    "pool": (
        "from concurrent.futures import ThreadPoolExecutor\nimport time\n"
        "ThreadPoolExecutor().submit(lambda: (time.sleep(0.2), print('done')))\nprint('begun')"
    ),
    "child": "import subprocess, sys\nsubprocess.run(['sh', '-c', 'echo out; echo err >&2'])",
    "input": "print(repr(input()))",
    "no terminal": "import sys; print([f.isatty() for f in (sys.stdin, sys.stdout, sys.stderr)])",
    "killed": "import os, signal; print('lost', end=''); os.kill(os.getpid(), signal.SIGKILL)",
    "signals": (
        "import signal\n"
        "print([signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)])"
    ),
    "surroundings": (
        "import os, sys, dbt_osmosis.cli.main\n"
        "print(os.getcwd(), sys.argv, sys.path[0], __name__, __file__)\n"
        "print({k: v for k, v in os.environ.items() if k != '_'})\n"
        "print(sys.stdout.encoding, sys.stdout.errors, sys.stdout.write_through, sys.flags)\n"
        "print(sorted(os.listdir('/proc/self/fd')) if os.path.exists('/proc') else '')"
    ),
    "the group": "from dbt_osmosis.cli.main import cli; print(sorted(cli.commands))",
    "what a logger has": (
        "import logging, dbt_osmosis.cli.main\n"
        "for handler in logging.getLogger('dbt-osmosis').handlers:\n"
        "    print(type(handler), handler.level, getattr(handler, 'baseFilename', None))\n"
        "print(handler.console.width, handler.console.no_color, handler.console.is_terminal)"
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_scripts(name: str, tmp_path: Path, forks: ForkServer) -> None:
    script = tmp_path / "script.py"
    script.write_text(ENDS[name])
    environ = clean_environment(HOME=str(tmp_path), COLUMNS="77", PWD=str(tmp_path))
    words = [str(script), "one", "", "--two=3"]
    fork = forks.run(words, tmp_path, environ)
    real = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # An interpreter's own frames stand below those of a script; a server's stand above.
    own = r'  File "[^"]*(?:fork_server\.py|<frozen runpy>)", .*\n(?:    .*\n)*'
    fork.stderr = re.sub(own, "", fork.stderr)
    beside = str(tmp_path), str(Path(sys.executable).parent)
    if name == "surroundings":  # a script's folder is that of the console scripts
        fork.stdout = fork.stdout.replace(f" {beside[1]} ", f" {beside[0]} ", 1)
    assert (fork.returncode, fork.stdout, fork.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )


def test_each_run_draws_for_itself(tmp_path: Path, forks: ForkServer) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, random, uuid\nfrom dbt_common.invocation import get_invocation_id\n"
        "print(os.getpid(), random.random(), uuid.uuid4(), get_invocation_id())"
    )
    runs = [forks.run([str(script)], tmp_path, clean_environment()).stdout for _ in range(2)]
    one, other = (run.split() for run in runs)
    assert len(one) == len(other) == 4
    assert not set(one) & set(other)


def test_a_fork_starts_from_one_thread(forks: ForkServer) -> None:
    if not (tasks := Path(f"/proc/{forks.pid}/task")).exists():
        pytest.skip("this system does not tell")
    assert len(list(tasks.iterdir())) == 1


@pytest.mark.parametrize(
    "variable",
    [
        "DBT_OSMOSIS_LLM",
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "PYTHONIOENCODING",
        "LC_ALL",
        "TZ",
        "OPENAI_API_VERSION",
        "DBT_MACRO_DEBUGGING",
    ],
)
def test_what_imports_depend_on_takes_a_process(variable: str, forks: ForkServer) -> None:
    assert forks.suits(clean_environment(HOME="/elsewhere", COLUMNS="40", OPENAI_API_KEY="other"))
    assert not forks.suits(clean_environment(**{variable: "0"}))


def test_a_run_that_hangs_is_killed_and_said(
    tmp_path: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.commands.HANG_S", 0.2)
    script = tmp_path / "script.py"
    script.write_text("import time; print('begun', flush=True); time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired) as hung:
        forks.run([str(script)], tmp_path, clean_environment())
    assert str(hung.value.stdout) == "begun\n"
    monkeypatch.undo()
    script.write_text("print('the next')")
    assert forks.run([str(script)], tmp_path, clean_environment()).stdout == "the next\n"
