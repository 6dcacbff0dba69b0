"""Plays a generated project: runs, edits by hand and runs again, and all that must hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from random import Random
from typing import Any

import yaml

from dbt_osmosis_llm.synthesis.lock import LOCK_NAME
from tests.commands import BIN, clean_environment, run_command
from tests.differential import oracle
from tests.differential.edits import edit
from tests.differential.files import project_file, write_profile, write_project
from tests.differential.oracle import Fault, Files
from tests.differential.projects import KNOWN_OPEN_RULES, RENDERED, Project
from tests.limits import HANG_S
from tests.server import LoopbackServer, Recorded, Reply

KEY = "sk-loopback-0123456789abcdef"
_TABLE = re.compile(r"^The (?:column `(.*)` of the )?\w+(?: \w+)* `([^`]*)`(?: needs.*|\.)$", re.M)
_COLUMN = re.compile(r"^- `(.*?)`(?: \(|$|:)", re.M)


@dataclass(repr=False)
class Playground:
    """One folder and one server, for one project after the other."""

    directory: Path
    server: LoopbackServer
    asked: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Prompts of which the table cannot be told."""
    told: list[str] = field(default_factory=list)
    """Prompts with the value of a variable."""
    untold: list[str] = field(default_factory=list)
    """Columns of a project that were answered null: no later run counts them."""
    log: list[str] = field(default_factory=list)
    parsed: dict[str, Path] = field(default_factory=dict)
    """What dbt keeps of a project without models, by the text of its ``dbt_project.yml``."""

    def __post_init__(self) -> None:
        self.environ = clean_environment(
            LLM_PROVIDER="openai",
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL=self.server.url,
            OSMOSIS_LLM_MAX_RETRIES="0",
            HOME=str(self.directory.parent),
            ZONE_OF_HARNESS=RENDERED,
        )

    @property
    def begun(self) -> Path:
        """A copy of the project as it was before its first run."""
        return self.directory.with_name("begun")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = run_command(*words, directory=self.directory, environ=self.environ)
        self.log.append(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}\n→ {done.returncode}\n")
        return done

    def document(self, project: Project, *more: str) -> subprocess.CompletedProcess[str]:
        for noted in (self.asked, self.unread, self.told):
            noted.clear()
        self.server.reset()
        self.server.script = lambda request, number: self._answer(project, request)
        words = [word for option in project.options for word in option.words]
        return self.run("dbt-osmosis", "yaml", "document", "--synthesize", *words, *more)

    def document_and_kill(self, project: Project, at: int) -> None:
        """Run a process from scratch that is killed when its n-th request has come in."""
        self.asked.clear()
        self.server.reset()
        running: list[subprocess.Popen[bytes]] = []

        def script(request: Recorded, number: int) -> Reply:
            if number == at:
                running[0].kill()
            return self._answer(project, request)

        self.server.script = script
        words = [word for option in project.options for word in option.words]
        running.append(
            subprocess.Popen(
                [BIN / "dbt-osmosis", "yaml", "document", "--synthesize", *words],
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        code = running[0].wait(HANG_S)
        self.log.append(f"killed during request {at}: → {code}\n")

    def seen_by_dbt(self, project: Project, target: Path) -> None:
        """Put in place what dbt keeps of its own macros, which take longest to parse."""
        text = project_file(project)
        if text not in self.parsed:
            bare = self.directory.parent / f"bare_{len(self.parsed)}"
            for name in ("models", "seeds"):
                (bare / name).mkdir(parents=True)
            (bare / "dbt_project.yml").write_text(text)
            write_profile(bare)
            run_command("dbt", "--quiet", "parse", directory=bare, environ=self.environ)
            self.parsed[text] = bare / "target"
        target.mkdir()
        shutil.copy(self.parsed[text] / "partial_parse.msgpack", target)

    def yaml_files(self) -> Files:
        files = [p for n in ("models", "seeds") for p in (self.directory / n).rglob("*.yml")]
        return {str(p.relative_to(self.directory)): p.read_bytes() for p in sorted(files)}

    def lock(self) -> bytes:
        path = self.directory / LOCK_NAME
        return path.read_bytes() if path.exists() else b""

    def _answer(self, project: Project, request: Recorded) -> Reply:
        """Answer each column with a text that says which one was asked for."""
        prompt = request.turns[-1][1]
        if RENDERED in request.text:
            self.told.append(prompt)
        found = _TABLE.search(prompt)
        if found is None:
            self.unread.append(prompt)
            return Reply(500)
        column, table = found.groups()
        # A source's name stands before that of its table, a version behind that of its model.
        table = oracle.without_version(table).rpartition(".")[2]
        schema = request.schema["properties"]

        def text(name: str) -> str | None:
            self.asked.append((table, name))
            if name and project.nulls and len(name) % project.nulls == 0:
                self.untold.append(name)
                return None
            return f"Meaning of {project.tokens.of('asked', table, name)}."

        answer: dict[str, Any] = {}
        if "columns" in schema:
            keys = list(schema["columns"]["properties"])
            names = _COLUMN.findall(prompt[prompt.index("<columns>") :])
            if len(keys) != len(names):
                self.unread.append(prompt)
            answer["columns"] = {key: text(name) for key, name in zip(keys, names, strict=False)}
        if "description" in schema:
            answer["description"] = text(column or "")
        return Reply(content=json.dumps(answer))


def play(
    project: Project, playground: Playground, *, until: str = "", known: bool = False
) -> list[Fault]:
    """Play a project and return all that is wrong.

    Args:
        project: Changed by the edits that it names.
        playground: Where.
        until: Rule whose first fault ends the play.
        known: Whether faults that are known to be open count.
    """
    playground.log.clear()
    playground.untold.clear()
    write_project(project, playground.directory)
    shutil.rmtree(playground.begun, ignore_errors=True)
    shutil.copytree(playground.directory, playground.begun)
    if not project.full_parse:
        playground.seen_by_dbt(project, playground.directory / "target")
    found: dict[Fault, None] = {}
    for fault in _play(project, playground):
        rule = fault.rule.removeprefix("after edits: ").removeprefix("after a kill: ")
        if known or until or rule not in KNOWN_OPEN_RULES:
            found[fault] = None
        if fault.rule == until:
            break
    return list(found)


def _play(project: Project, playground: Playground) -> Iterator[Fault]:
    before = playground.yaml_files()
    if project.kill_at:
        playground.document_and_kill(project, project.kill_at)
        for fault in _after_a_kill(project, playground, before):
            yield Fault(f"after a kill: {fault.rule}", fault.message)
    first = playground.document(project)
    faults = []
    for fault in _after_a_run(project, playground, before, first):
        faults.append(fault)
        yield fault
    if any(f.rule in ("traceback", "exit code", "no YAML") for f in faults):
        return
    yield from _checked(project, playground, first)
    yield from _again(project, playground)
    if not project.edits or any(f.rule not in KNOWN_OPEN_RULES for f in faults):
        return
    random = Random(project.edit_seed)
    for name in project.edits:
        edit(name, project, playground.directory, random)
    playground.log.append(f"edited: {project.edits}\n")
    before = playground.yaml_files()
    more = ("--llm-refresh", "stale") if project.refresh else ()
    third = playground.document(project, *more)
    for fault in _after_a_run(project, playground, before, third):
        yield Fault(f"after edits: {fault.rule}", fault.message)
    for fault in _again(project, playground):
        yield Fault(f"after edits: {fault.rule}", fault.message)


def _after_a_kill(project: Project, playground: Playground, before: Files) -> Iterator[Fault]:
    after = playground.yaml_files()
    if broken := list(oracle.unreadable(after)):
        yield from broken
        return
    yield from oracle.kept(project, before, after)
    yield from oracle.lines_kept(project, before, after)
    yield from oracle.right_words(project, before, after)


def _after_a_run(
    project: Project,
    playground: Playground,
    before: Files,
    done: subprocess.CompletedProcess[str],
) -> Iterator[Fault]:
    after = playground.yaml_files()
    for prompt in playground.told:
        yield Fault("rendered", f"a prompt has the value of a variable: {prompt[:300]}")
    for file, content in after.items():
        if RENDERED.encode() in content:
            yield Fault("rendered", f"{file} has the value of a variable")
    yield from oracle.ended_well(done.returncode, done.stderr)
    for prompt in playground.unread:
        yield Fault("prompt", f"whose text is asked for? {prompt[:300]}")
    if broken := list(oracle.unreadable(after)):
        yield from broken
        return
    yield from oracle.kept(project, before, after)
    yield from oracle.lines_kept(project, before, after)
    yield from oracle.named_once(before, after)
    yield from oracle.right_words(project, before, after)
    yield from oracle.asked_once(playground.asked)
    lock = yaml.safe_load(playground.lock()) or {}
    yield from oracle.lock_agrees(lock, after)
    yield from _parses(project, playground, before, after)


def _parses(
    project: Project, playground: Playground, before: Files, after: Files
) -> Iterator[Fault]:
    """Parse as strictly as dbt can, and the files as they were only where that fails."""
    if not project.full_parse and not _parse_errors(project, playground, anew=False):
        return
    if not (said := _parse_errors(project, playground)):
        return
    directory = playground.directory
    try:
        for file in after:
            (directory / file).unlink()
        for file, content in before.items():
            (directory / file).write_bytes(content)
        old = _parse_errors(project, playground)
        plain = _parse_errors(project, playground, strict=False)
    finally:
        for file, content in after.items():
            (directory / file).write_bytes(content)
    if not old:
        yield Fault("strict parse", said)
    elif not plain and (now := _parse_errors(project, playground, strict=False)):
        yield Fault("parse", now)


def _parse_errors(
    project: Project, playground: Playground, *, strict: bool = True, anew: bool = True
) -> str:
    """Return what dbt says of the project, nothing when it parses it.

    Args:
        strict: Whether a warning is an error.
        anew: Whether dbt's own macros are parsed, too; the project always is.
    """
    # In a folder of its own: a run has to find what the last run left.
    target = playground.directory.parent / "strict-target"
    shutil.rmtree(target, ignore_errors=True)
    if not anew:
        playground.seen_by_dbt(project, target)
    words = ["--warn-error"] if strict else []
    more = ["--no-partial-parse"] if anew else []
    done = playground.run("dbt", "--quiet", *words, "parse", *more, "--target-path", str(target))
    return "" if done.returncode == 0 else done.stdout[-1200:] + done.stderr[-400:]


_NOT_KNOWN_TO_THE_CHECK = ("skip-add-columns", "skip-add-source-columns")


def _checked(
    project: Project, playground: Playground, run: subprocess.CompletedProcess[str]
) -> Iterator[Fault]:
    """The check is green after a run, but for what the run's own summary names."""
    done = playground.run("dbt-osmosis", "llm", "check")
    if "Traceback" in done.stdout + done.stderr:
        yield Fault("check traceback", done.stderr[-1500:])
        return
    if any(o.name in _NOT_KNOWN_TO_THE_CHECK and not o.in_project for o in project.options):
        return  # the command line of the run decided what is listed
    # A run that was to be killed may have ended before, and what it could not tell is on record.
    complete = run.returncode == 0 and " 0 left empty" in run.stderr and not playground.untold
    if done.returncode != 0 and complete:
        kinds = sorted({k for k in _KINDS if re.search(rf"^  +{k}  ", done.stdout, re.M)})
        yield Fault(f"check: {', '.join(kinds)}", done.stdout[-1500:] + done.stderr[-300:])


_KINDS = ("missing", "stale", "orphaned", "conflicting")


def _again(project: Project, playground: Playground) -> Iterator[Fault]:
    """A run after a run asks nothing and changes nothing."""
    before, lock = playground.yaml_files(), playground.lock()
    done = playground.document(project)
    yield from oracle.ended_well(done.returncode, done.stderr)
    if playground.asked:
        yield Fault("asked again", f"{sorted(playground.asked)}")
    after = playground.yaml_files()
    for file in sorted({*before, *after}):
        if before.get(file) != after.get(file):
            yield Fault("changed again", f"{file}:\n{_diff(before.get(file), after.get(file))}")
    if playground.lock() != lock:
        yield Fault("lock changed again", _diff(lock, playground.lock()))


def _diff(old: bytes | None, new: bytes | None) -> str:
    before, after = ((text or b"").decode().splitlines() for text in (old, new))
    return "\n".join(list(unified_diff(before, after, lineterm="", n=1))[2:])
