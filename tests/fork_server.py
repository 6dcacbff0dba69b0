"""Runs installed commands in forks of one process that has imported what each of them imports.

A run is the console script itself, in a process of its own, that begins where the imports of dbt,
dbt-osmosis and the SDKs have ended: four of five CPU seconds of ``--help``. Nothing has run here
but imports, so a fork holds what a new process would hold. What the imports have taken from the
environment is told to ``tests.commands``, which gives a run whose environment says otherwise a
process from scratch.

Run as a script by the interpreter that has the command: ``fork_server.py DESCRIPTOR``, a socket.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import socket
import struct
import sys
import threading
from collections.abc import ItemsView
from contextlib import suppress
from typing import NoReturn

STATUS = struct.Struct("!i")
COUNT = struct.Struct("!I")
REQUEST, STREAMS = 0, (1, 2, 3)
"""The descriptors of a request: what to run, then stdin, stdout and stderr of the run."""

COMMANDS = ("dbt_osmosis.cli.main", "dbt.cli.main")
"""What the console scripts import; our ``.pth`` extends the first, here as everywhere."""

IMPORTED_BY_MOST_RUNS = ("dbt.adapters.duckdb", "dbt.task.build", "openai.resources.chat")
KINDS_OF_FILES = (
    "dbt.contracts.project",
    "dbt.contracts.selection",
    "dbt.adapters.duckdb.credentials",
)
"""Where the classes are that dbt checks each project's own files against."""

RUN_BY_OTHERS = ("__main__", "env")
"""Modules that do something when they are imported: ours, and Alembic's."""


class _Watched(os._Environ[str]):
    """``os.environ`` that notes which variables are asked for by their names."""

    asked_for: set[str] = set()  # noqa: RUF012  # the class is put under an object that exists

    def __getitem__(self, name: str) -> str:
        if isinstance(name, str):  # subprocess looks whether bytes will do
            self.asked_for.add(name)
        return super().__getitem__(name)

    def items(self) -> ItemsView[str, str]:
        return dict(zip(self, map(super().__getitem__, self), strict=True)).items()


def import_all() -> set[str]:
    """Import what runs import, and return the variables that have a say in what came of it."""
    os.environ.__class__ = _Watched
    for name in (*COMMANDS, *IMPORTED_BY_MOST_RUNS):
        importlib.import_module(name)
    ours = importlib.import_module("dbt_osmosis_llm")
    for module in pkgutil.walk_packages(ours.__path__, "dbt_osmosis_llm."):
        if module.name.rpartition(".")[2] not in RUN_BY_OTHERS:
            importlib.import_module(module.name)
    _make_schemas()
    os.environ.__class__ = os._Environ
    return _Watched.asked_for


def _make_schemas() -> None:
    """Let dbt make the schemas that it makes once a process: a fifth of a second each run."""
    classes = [importlib.import_module("dbt_common.dataclass_schema").dbtClassMixin]
    for one in classes:
        classes += one.__subclasses__()
        if one.__module__ in KINDS_OF_FILES:
            with suppress(NotImplementedError):  # a class without a schema
                one.json_schema()


def serve(control: socket.socket) -> dict[str, object]:
    """Fork for each request; return it in the fork."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1 + len(STREAMS))
        if not message:
            os._exit(0)
        assert threading.active_count() == 1, "a fork would lack the other threads"
        pid = os.fork()
        if pid == 0:
            control.close()
            return _become(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(STATUS.pack(pid))
        _, status = os.waitpid(pid, 0)
        control.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))


def _become(descriptors: list[int]) -> dict[str, object]:
    """Make this fork the process that was asked for, but for the script itself."""
    with os.fdopen(descriptors[REQUEST], encoding="utf-8") as file:
        request: dict[str, object] = json.load(file)
    for target, number in enumerate(STREAMS):
        os.dup2(descriptors[number], target)
        os.close(descriptors[number])
    os.environ.clear()
    os.environ.update(request["environ"])  # type: ignore[call-overload]
    os.chdir(str(request["directory"]))
    _draw_again(for_dbt=os.path.basename(str(request["script"])) == "dbt")
    return request


def _draw_again(for_dbt: bool) -> None:
    """Do again what imports have drawn that each process should draw for itself."""
    importlib.import_module("dbt_common.invocation").reset_invocation_id()
    logger = importlib.import_module("dbt_osmosis.core.logger")
    # Its console asks for widths and colours, and its file is in the home directory.
    for handler in logger.LOGGER.handlers[:]:
        logger.LOGGER.removeHandler(handler)
        handler.close()
    if not for_dbt:
        importlib.reload(logger)


def run(script: str, arguments: list[str]) -> NoReturn:
    """Run a console script and end this process as an interpreter ends."""
    sys.argv = [script, *arguments]
    code: object = None
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  # the interpreter's own last resort
        sys.excepthook(*sys.exc_info())
        code = 1
    if not (code is None or isinstance(code, int)):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    # As if a script beside the interpreter had been started.
    sys.path[0] = os.path.dirname(sys.executable)
    channel = socket.socket(fileno=int(sys.argv[1]))
    variables = json.dumps(sorted(import_all())).encode()
    channel.sendall(COUNT.pack(len(variables)) + variables)
    # No collection of garbage in a fork has to look at, and thereby copy, what is here now.
    gc.collect()
    gc.freeze()
    wanted = serve(channel)
    run(str(wanted["script"]), wanted["arguments"])  # type: ignore[arg-type]
