"""Judges a git diff of YAML files by its lines: may a run that documents have made it?

A parser would forgive what a person minds: a comment that is gone, a quote that is another one.
So lines are judged as git shows them. What may go: an empty or placeholder description that gets a
text. What may come: descriptions, data types, whole new columns and tables.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

INHERITED = frozenset({"config", "meta", "tags"})
"""Keys that dbt-osmosis inherits besides texts, unless a project tells it not to."""

_NEW_KEYS = frozenset({"description", "data_type"})
_LISTS = frozenset({"models", "seeds", "sources", "tables", "columns"})
_PLACEHOLDERS = (
    "Pending further documentation",
    "No description for this column",
    "Not documented",
    "Undefined",
)
_NO_TEXT = "|".join(
    [*(f"{q}{p}{q}" for p in _PLACEHOLDERS for q in ("", '"', "'")), r'"\s*"', r"'\s*'"]
)
_KEY = re.compile(r"""(?P<lead>\s*(?:-\s+)*)(?P<quote>["']?)(?P<key>[\w-]+)(?P=quote):(?:\s|$)""")
_EMPTY = re.compile(
    rf"""(?P<start>\s*(?:-\s+)*["']?description["']?:)\s*"""
    rf"(?P<value>{_NO_TEXT}|[|>][-+0-9]*)?\s*(?P<comment>#.*)?$"
)
_ITEM = re.compile(r"""\s*- name: ["']?(?P<name>\w+)""")
_TYPE = re.compile(r"\s*(?:-\s+)*data_type:")
_ALIAS = re.compile(r"(\s*- )(\*.*)")
_EMPTY_LIST = re.compile(r"\s*(?:-\s+)*columns:\s*\[\s*\]\s*(?:#.*)?$")
_SCALAR = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s,{}\[\]"'#][^,{}\[\]]*)"""
_FLOW_KEY = r"""["']?(?:description|data_type)["']?:\s*"""
_FLOW_EMPTY = re.compile(rf"""(["']?description["']?:\s*)(?:{_NO_TEXT})""")


@dataclass(frozen=True)
class Allowed:
    """What a run may do besides writing texts and adding columns and tables."""

    keys: frozenset[str] = frozenset()
    """May be added to what is there."""
    gone: frozenset[str] = frozenset()
    """Columns and tables that may be taken out."""
    types: bool = False
    """Data types may become others."""


@dataclass(frozen=True)
class Hunk:
    """Lines that went and lines that came in one place, with their line ends."""

    file: str
    header: str
    removed: tuple[bytes, ...]
    added: tuple[bytes, ...]
    start: int
    """Of the added lines, from 0, in the new file."""

    def __str__(self) -> str:
        lines = [b"-" + line for line in self.removed] + [b"+" + line for line in self.added]
        shown = "\n".join(repr(line)[2:-1] for line in lines)
        return f"{self.file} {self.header}\n{shown}"


@dataclass(frozen=True)
class Change:
    """One file before and after."""

    file: str
    before: bytes
    after: bytes
    hunks: tuple[Hunk, ...]


def git(directory: Path, *arguments: str) -> bytes:
    """Run git in a directory, without anybody's settings for line ends and names."""
    settings = [
        "core.autocrlf=false",
        "core.excludesfile=",
        "core.quotepath=false",
        "commit.gpgsign=false",
        "user.name=test",
        "user.email=test@example.com",
    ]
    options = [part for setting in settings for part in ("-c", setting)]
    return subprocess.run(
        ["git", *options, *arguments], cwd=directory, capture_output=True, check=True
    ).stdout


def commit_all(directory: Path, ignored: Iterable[str] = ()) -> None:
    """Make a repository of a directory, with all but the ignored files in it."""
    git(directory, "init", "--quiet")
    (directory / ".git/info").mkdir(exist_ok=True)
    (directory / ".git/info/exclude").write_text("".join(f"{name}\n" for name in ignored))
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", "before")


def changes(directory: Path) -> list[Change]:
    """Return the files of the last commit whose bytes are others now; not those that are gone."""
    names = git(directory, "diff", "--name-only", "-z", "--diff-filter=M", "HEAD").decode()
    found = []
    for name in filter(None, names.split("\0")):
        raw = git(
            directory, "diff", "--text", "--no-color", "--no-ext-diff", "-U0", "HEAD", "--", name
        )
        before = git(directory, "show", f"HEAD:{name}")
        after = (directory / name).read_bytes()
        found.append(Change(name, before, after, tuple(_hunks(name, raw))))
    return found


def _hunks(file: str, diff: bytes) -> Iterator[Hunk]:
    for part in re.split(rb"^(?=@@ )", diff, flags=re.MULTILINE)[1:]:
        header, *lines = part.splitlines(keepends=True)
        # "\ No newline at end of file" takes the line end off the line before it.
        for at in [n for n, line in enumerate(lines) if line.startswith(b"\\")]:
            lines[at - 1] = lines[at - 1].removesuffix(b"\n")
        found = re.match(rb"@@ -\S+ \+(\d+)", header)
        assert found, header
        yield Hunk(
            file,
            header.decode().strip(),
            tuple(line[1:] for line in lines if line.startswith(b"-")),
            tuple(line[1:] for line in lines if line.startswith(b"+")),
            int(found[1]) - 1,
        )


def complaints(change: Change, allowed: Allowed = Allowed()) -> list[str]:
    """Return what a run that documents should not have done to a file, each with its hunk."""
    found = []
    bom = b"\xef\xbb\xbf"
    if change.before.startswith(bom) != change.after.startswith(bom):
        found.append(f"{change.file}: its byte order mark is not what it was")
    if change.before.endswith(b"\n") != change.after.endswith(b"\n"):
        found.append(f"{change.file}: its last line ends in another way")
    ends = _line_ends(change.before)
    for hunk in change.hunks:
        if len(ends) == 1 and not _line_ends(b"".join(hunk.added)) <= ends:
            found.append(f"lines end in another way\n{hunk}")
        reasons = [_objection(one, allowed) for one in _slides(hunk, change.after)]
        if all(reasons):
            found.append(f"{reasons[0]}\n{hunk}")
    return found


def _line_ends(content: bytes) -> set[bytes]:
    return set(re.findall(rb"\r?\n|\r", content))


def _slides(hunk: Hunk, after: bytes) -> Iterator[Hunk]:
    """Give a hunk and all other ways to show the same: ``a b`` + ``a`` is ``a`` + ``b a``, too."""
    yield hunk
    if hunk.removed or not hunk.added:
        return
    lines = after.splitlines(keepends=True)
    size = len(hunk.added)
    for step in (-1, 1):
        start = hunk.start
        while 0 <= (start := start + step) <= len(lines) - size:
            gone, came = (start + size, start) if step < 0 else (start - 1, start + size - 1)
            if lines[gone] != lines[came]:
                break
            yield Hunk(hunk.file, hunk.header, (), tuple(lines[start : start + size]), start)


def _objection(hunk: Hunk, allowed: Allowed) -> str:
    """Return why a hunk is not allowed, an empty text for one that is."""
    removed, added = _without_end_of_file(hunk)
    starts = []
    """What the description lines that must come look like up to the colon, and their comments."""
    while removed:
        line = removed.pop(0)
        if _EMPTY_LIST.match(line):
            if not any(re.match(r"\s*(?:-\s+)*columns:\s*(?:#.*)?$", one) for one in added):
                return "an empty list went and none came"
            continue
        if match := _EMPTY.match(line):
            if match["value"] and match["value"][0] in "|>":
                block = _take_deeper(removed, len(match["start"]) - len("description:"))
                if " ".join(block.split()) not in ("", *_PLACEHOLDERS):
                    return "a text went"
            starts.append((match["start"], match["comment"] or ""))
            continue
        if line.strip() in _PLACEHOLDERS:  # the block around it stays
            if not _take_deeper(added, len(line) - len(line.lstrip()) - 1):
                return "a placeholder went and no text came"
            continue
        if line.lstrip().startswith("#") and _is_gone(_first_item(removed), allowed):
            continue  # said of a column that went
        if _is_gone(line, allowed):
            _take_deeper(removed, len(line) - len(line.lstrip()))
            continue
        pattern = _pattern(line, allowed)
        position = next((n for n, one in enumerate(added) if re.fullmatch(pattern, one)), None)
        if position is None:
            return f"a line went that is no empty description: {line!r}"
        del added[position]
    return _objection_to_added(added, starts, allowed.keys)


def _first_item(lines: Sequence[str]) -> str:
    return next((line for line in lines if not line.lstrip().startswith("#")), "")


def _is_gone(line: str, allowed: Allowed) -> bool:
    item = _ITEM.match(line)
    return item is not None and item["name"] in allowed.gone


def _without_end_of_file(hunk: Hunk) -> tuple[list[str], list[str]]:
    """Return the lines that went and came; the last line of a file may get a line end."""
    removed, added = list(hunk.removed), list(hunk.added)
    if removed and not removed[-1].endswith(b"\n"):
        for end in (b"\n", b"\r\n"):
            if removed[-1] + end in added:
                added.remove(removed[-1] + end)
                removed.pop()
                break
    return [line.decode().rstrip("\r\n") for line in removed], [
        line.decode().rstrip("\r\n") for line in added
    ]


def _objection_to_added(
    added: list[str], starts: list[tuple[str, str]], also: Collection[str]
) -> str:
    lines = list(added)
    items: list[int] = []
    """Indents of the new list items that are open."""
    has_items = False
    while lines:
        line = lines.pop(0)
        if not line.strip():
            if not has_items and not lines:
                return "a blank line came"
            continue
        indent = len(line) - len(line.lstrip())
        items = [one for one in items if one < indent]
        match = _KEY.match(line)
        is_item = line.lstrip().startswith("- ")
        if match is None:
            if items and (is_item or "tags" in also):
                continue  # flow items, tags
            return f"a line came that is no description: {line!r}"
        depth, key = len(match["lead"]), match["key"]
        value = line[match.end() :]
        if key == "description":
            start = next((one for one in starts if line.startswith(one[0])), None)
            if start is not None:
                if not line.endswith(start[1]):
                    return f"a comment went: {start[1]!r}"
                starts.remove(start)
                is_item = False  # the item was there before
            _take_continuation(lines, value, depth)
        if is_item:
            items.append(indent)
            has_items = True
        if key in also and not items:
            _take_deeper(lines, depth)
        elif key in _LISTS and value.strip() in ("", "[]"):
            if not lines or not lines[0].lstrip().startswith("- "):
                return f"{key} came without an entry"
        elif key not in _NEW_KEYS and not items:
            return f"{key} came to what was there before: {line!r}"
    return f"an empty description went and no text came: {starts[0][0]!r}" if starts else ""


def _take_continuation(lines: list[str], value: str, indent: int) -> None:
    """Take the rest of a value that began on the line before."""
    text = value.strip()
    quote = text[:1] if text[:1] in ("'", '"') else ""
    if quote and not re.match(_SCALAR + r"\s*(?:#.*)?$", text):
        while lines:
            text += "\n" + lines.pop(0)
            if re.match(_SCALAR + r"\s*(?:#.*)?$", text.strip(), re.DOTALL):
                return
    elif not quote:
        _take_deeper(lines, indent)


def _take_deeper(lines: list[str], indent: int) -> str:
    """Take the lines that are indented deeper, with the blank ones between them."""
    count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            break
        count = number
    taken = lines[:count]
    del lines[:count]
    return "\n".join(taken)


def _pattern(line: str, allowed: Allowed) -> str:
    """Return what a line may become that is no empty description."""
    if allowed.types and (start := _TYPE.match(line)):
        comment = re.search(r"\s#.*$|$", line)
        return re.escape(start[0]) + r"\s*[^\s#][^#]*?" + re.escape(comment[0] if comment else "")
    if alias := _ALIAS.fullmatch(line):  # so that a key can stand beside it
        return re.escape(f"{alias[1]}<<: {alias[2]}")
    if "{" not in line and "[" not in line:
        return r"(?!)"
    pair = rf"{_FLOW_KEY}{_SCALAR}"
    pattern = ""
    for number, part in enumerate(_FLOW_EMPTY.split(line)):
        if number % 2:
            pattern += re.escape(part) + _SCALAR
            continue
        for bit in re.split(r"(,\s*|\s*[]}])", part):
            if bit.strip() == "}":
                pattern += rf"(?:,\s*{pair})*"
            elif bit.strip() == "]":
                pattern += r"(?:,\s*\{[^{}]*\})*"
            pattern += re.escape(bit)
            if bit.strip() == ",":
                pattern += rf"(?:{pair},\s*)*"
    return pattern


def lost(before: Any, after: Any, allowed: Allowed = Allowed(), place: str = "") -> list[str]:
    """Return what parsed YAML had before and has no longer, and what came that must not.

    Args:
        before: The content of a file as dbt reads it.
        after: Its content after the run.
        allowed: What may have changed besides.
        place: Where in the file this stands.
    """
    key = place.rpartition("/")[2]
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = [f"{place}: {name} is gone" for name in before if name not in after]
        new = set(after) - set(before) - _NEW_KEYS - _LISTS - allowed.keys
        if key not in allowed.keys:
            found += [f"{place}: {name} is new" for name in sorted(new)]
        for name in set(before) & set(after):
            found += lost(before[name], after[name], allowed, f"{place}/{name}")
        return found
    if _is_list(before) and _is_list(after):
        if key in {*_LISTS, "versions"}:
            return _lost_items(before, after, allowed, place)
        if key in allowed.keys:
            return [f"{place}: {one!r} is gone" for one in before if one not in after]
        if len(before) == len(after):  # such as what tables share below `anchors:`
            pairs = enumerate(zip(before, after, strict=True))
            return [one for n, (b, a) in pairs for one in lost(b, a, allowed, f"{place}/{n}")]
    if (key == "description" and _lacks_text(before)) or (key == "data_type" and allowed.types):
        return []
    return [] if before == after else [f"{place}: {before!r} became {after!r}"]


def _lost_items(
    before: Sequence[Any], after: Sequence[Any], allowed: Allowed, place: str
) -> list[str]:
    found = []
    left = list(after)
    for item in before:
        name = _name(item)
        match = next((one for one in left if _name(one) == name), None)
        if match is None:
            if name not in allowed.gone:
                found.append(f"{place}: {name} is gone, or behind what it was in front of")
            continue
        new, left = left[: left.index(match)], left[left.index(match) + 1 :]
        found += _strange_keys(new, allowed, place)
        found += lost(item, match, allowed, f"{place}/{name}")
    return found + _strange_keys(left, allowed, place)


def _strange_keys(items: Sequence[Any], allowed: Allowed, place: str) -> list[str]:
    known = {"name", *_NEW_KEYS, *_LISTS, *allowed.keys}
    return [
        f"{place}: {key} is in the new entry {_name(item)}"
        for item in items
        for key in sorted(set(item) - known)
    ]


def _name(item: Any) -> str:
    if not isinstance(item, Mapping):
        return repr(item)
    return str(item.get("name", item.get("v", sorted(map(str, item)))))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _lacks_text(value: Any) -> bool:
    return value is None or str(value).strip() in ("", *_PLACEHOLDERS)


def load(content: bytes) -> Any:
    """Read YAML as dbt does: the last of two equal keys counts."""
    return yaml.safe_load(content.decode("utf-8-sig"))
