"""The nodes of a YAML file with the places where they stand in its text.

ruamel.yaml's own node tree loses where an alias stands, so the tree is built from its parser's
events. Values are kept in a form in which `1`, `1.0` and `true` differ: see `normal`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

# libyaml, twenty times as fast as ruamel.yaml's own parser, knows YAML 1.1 alone: where there are
# tags or any of these signs, it may see other nodes.
_FastLoader: Any = getattr(yaml, "CSafeLoader", None)
_NOT_FAST = re.compile("[\t\x85\u2028\u2029\ufeff]|\r(?!\n)|^%", re.MULTILINE)
_GAP = re.compile(r"(?:[\s\ufeff]|#[^\r\n]*)*")
_PROPERTY = re.compile(r"!<[^>]*>|[&!][^\s,\[\]{}]*")
# A plain scalar that begins otherwise, or is a sentence, is text in YAML 1.2.
_MAYBE_TYPED = re.compile(r"[-+.0-9~=<]|(?:[nN][uU]|[tT][rR]|[fF][aA])[a-zA-Z]{1,3}\Z")
_LONGEST_TIMESTAMP = 40
_MERGE = ("tag", "tag:yaml.org,2002:merge", "<<")
# What ruamel.yaml raises on texts that it cannot read, beside its own errors.
READ_ERRORS = (
    YAMLError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    RuntimeError,
)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_PENDING = object()


class UnsafeYamlError(ValueError):
    """A YAML file cannot be changed without a risk to what it says; the message is one line."""


@dataclass(eq=False, slots=True)
class Node:
    """One node of a YAML file; offsets are characters of its text."""

    kind: str
    """scalar, mapping, sequence or alias."""
    start: int
    """Where the node begins, anchor and tag included."""
    body: int
    """Where it begins after its anchor and tag."""
    end: int
    """Behind its last character; the lines of a block scalar end before their line end."""
    column: int
    value: Any
    """What it loads to, in the form of `normal`; merge keys are merged."""
    style: str = ""
    """Of a scalar: the quote, `|` or `>`, empty for plain. Of a collection: `flow` or `block`."""
    anchor: str | None = None
    tagged: bool = False
    items: Sequence[Node] = ()
    pairs: Sequence[tuple[Node, Node]] = ()
    target: Node | None = None
    """The node that an alias stands for."""

    @property
    def is_merge(self) -> bool:
        """Tell whether this is the key `<<`."""
        return self.value == _MERGE and not self.tagged


def normal(value: Any, *, lenient: bool = False) -> Any:
    """Return loaded YAML as plain dicts, lists, strings and, for all else, (type, value) pairs.

    Args:
        value: What was loaded.
        lenient: Let things pass that are none of YAML's own types; they can be compared and left
            out, but not written.

    Raises:
        UnsafeYamlError: It has such a thing.
    """
    if value is None or type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {
            _hashable(normal(key, lenient=lenient)): normal(item, lenient=lenient)
            for key, item in value.items()
        }
    if isinstance(value, TaggedScalar):
        tag, text = str(value.tag.value), str(value.value)
        return text if tag in _TEXT_TAGS else ("tag", tag, text)
    if isinstance(value, bool | ScalarBoolean):
        return ("bool", bool(value))
    if isinstance(value, int):
        return ("int", int(value))
    if isinstance(value, float):
        return ("float", "nan" if value != value else float(value))
    if isinstance(value, datetime):
        return ("datetime", value.isoformat())
    if isinstance(value, date):
        return ("date", value.isoformat())
    if isinstance(value, bytes):
        return ("bytes", value)
    if isinstance(value, Set):
        return {_hashable(normal(item, lenient=lenient)): None for item in value}
    if isinstance(value, Sequence):
        return [normal(item, lenient=lenient) for item in value]
    if lenient:
        return ("unknown", repr(value))
    raise UnsafeYamlError(f"it has a value of the type {type(value).__name__!r}")


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return ("list", *map(_hashable, value))
    if isinstance(value, dict):
        return ("map", *((key, _hashable(item)) for key, item in value.items()))
    return value


def key_text(key: Any) -> str:
    """Return a key in the form of `normal` as it reads in a sentence."""
    return str(key[-1] if isinstance(key, tuple) else key)


def line_of(text: str, offset: int) -> int:
    """Return the number of the line, from 1, that an offset is in."""
    return text.count("\n", 0, offset) + 1


def gap_end(text: str, offset: int) -> int:
    """Return where the white space and comments from an offset on end."""
    match = _GAP.match(text, offset)
    return match.end() if match else offset


def read_tree(text: str, *, fast: bool = True) -> Node | None:
    """Return the root node of a YAML file, None when it holds nothing but comments.

    Args:
        text: The file.
        fast: Leave it to libyaml where that sees the same nodes in all likelihood; whoever changes
            a file by them has the result read by ruamel.yaml.

    Raises:
        UnsafeYamlError: It is not one valid YAML document, or a key stands in a mapping twice.
    """
    if fast and can_be_fast(text):
        # What ruamel.yaml thinks of a file that libyaml does not like is another matter.
        with suppress(yaml.YAMLError, _NotFastError, UnsafeYamlError, *READ_ERRORS):
            return _Reader(text, yaml.parse(text, Loader=_FastLoader), fast=True).document()
    try:
        # Pure: ruamel.yaml may use libyaml itself.
        return _Reader(text, YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} is" if mark else "it is"
        what = error.problem or error.context or "unknown problem"
        raise UnsafeYamlError(f"{where} not valid YAML: {' '.join(what.split())}") from error
    except YAMLError as error:
        raise UnsafeYamlError(f"it is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UnsafeYamlError("its values are nested too deeply") from error
    except UnsafeYamlError:
        raise
    except READ_ERRORS as error:
        raise UnsafeYamlError(f"it cannot be read as YAML: {type(error).__name__}") from error


def can_be_fast(text: str) -> bool:
    """Tell whether libyaml is there and sees in a file, tags aside, what ruamel.yaml sees."""
    return _FastLoader is not None and not _NOT_FAST.search(text)


class _NotFastError(Exception):
    """A file has what libyaml may read in another way."""


class _Reader:
    def __init__(self, text: str, events: Iterator[Any], *, fast: bool = False) -> None:
        self.text = text
        self.events = events
        self.fast = fast
        self.anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self.events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    line = event.start_mark.line + 1
                    raise UnsafeYamlError(f"line {line} begins a second document")
                if event.version or event.tags:
                    raise UnsafeYamlError("it has a YAML directive")
            elif kind in ("ScalarEvent", "SequenceStartEvent", "MappingStartEvent"):
                root = self.node(event)
        is_empty = root is not None and root.kind == "scalar" and root.start == root.end
        return None if is_empty else root

    def node(self, event: Any, after: int | None = None) -> Node:
        """Build a node; `after` is where it stands when it is empty."""
        start, end = event.start_mark.index, event.end_mark.index
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self.alias(event, start, end)
        tag = event.tag
        node = Node("scalar", start, start, end, event.start_mark.column, _PENDING)
        if event.anchor or tag:
            if tag and self.fast:
                raise _NotFastError
            node.anchor, node.tagged = event.anchor, bool(tag)
            node.body = self.behind_properties(start)
            if event.anchor is not None:
                self.anchors[event.anchor] = node
        if kind == "ScalarEvent":
            self.scalar(node, event, after)
        elif kind == "SequenceStartEvent":
            self.sequence(node, event)
        else:
            self.mapping(node, event)
        return node

    def alias(self, event: Any, start: int, end: int) -> Node:
        target = self.anchors.get(event.anchor)
        line = event.start_mark.line + 1
        if target is None:
            raise UnsafeYamlError(f"line {line} refers to *{event.anchor}, which is nowhere")
        if target.value is _PENDING:
            raise UnsafeYamlError(f"line {line} refers to what it stands in: *{event.anchor}")
        column = event.start_mark.column
        return Node("alias", start, start, end, column, target.value, target=target)

    def behind_properties(self, offset: int) -> int:
        end = offset
        while match := _PROPERTY.match(self.text, offset):
            end = match.end()
            offset = gap_end(self.text, end)
        return offset if offset > end else end

    def scalar(self, node: Node, event: Any, after: int | None) -> None:
        node.style = event.style or ""
        if node.start == node.end and after is not None:
            node.start = node.body = node.end = after
            node.column = after - self.text.rfind("\n", 0, after) - 1
        elif node.body > node.end:  # an anchor or a tag and no value
            node.body = node.end
        if node.style in ("|", ">"):
            node.end = self.block_scalar_end(node)
        if node.style and not node.tagged:
            node.value = event.value
        elif node.tagged:
            node.value = _tagged_value(str(event.tag), event.value)
        else:
            node.value = _plain_value(event.value)

    def block_scalar_end(self, node: Node) -> int:
        """Return the end of its last line; blank lines are content when it keeps them (`|+`)."""
        written = self.text[node.body : node.end]
        if "+" in written.split("\n", 1)[0].split("#")[0]:
            return node.body + len(written.removesuffix("\n").removesuffix("\r"))
        last = len(written.rstrip(" \t\r\n"))
        behind = written[last:].split("\n", 1)[0]  # white space that its last line ends with
        return node.body + last + len(behind.removesuffix("\r"))

    def sequence(self, node: Node, event: Any) -> None:
        node.kind, node.style = "sequence", "flow" if event.flow_style else "block"
        last = node.body
        node.items = items = []
        for inner in self.events:
            if type(inner).__name__ == "SequenceEndEvent":
                node.end = inner.end_mark.index if event.flow_style else last
                break
            items.append(self.node(inner))
            last = items[-1].end
        node.value = [item.value for item in items]

    def mapping(self, node: Node, event: Any) -> None:
        node.kind, node.style = "mapping", "flow" if event.flow_style else "block"
        last = node.body
        node.pairs = pairs = []
        for inner in self.events:
            if type(inner).__name__ == "MappingEndEvent":
                node.end = inner.end_mark.index if event.flow_style else last
                break
            key = self.node(inner)
            key.value = _hashable(key.value)
            colon = gap_end(self.text, key.end)
            has_colon = self.text[colon : colon + 1] == ":"
            value = self.node(next(self.events), colon + 1 if has_colon else key.end)
            pairs.append((key, value))
            last = max(key.end, value.end)
        node.value = self.merged(node)

    def merged(self, node: Node) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        values: dict[Any, Any] = {}
        for key, value in node.pairs:
            name = key.value
            if name in values or (key.is_merge and merged):
                line = line_of(self.text, key.start)
                raise UnsafeYamlError(f"line {line} has the key {key_text(name)!r} twice")
            if key.is_merge:
                merged = self.merge_source(value)
            else:
                values[name] = value.value
        # By YAML's rule its own keys win, wherever `<<` stands.
        return {**merged, **values}

    def merge_source(self, value: Node) -> dict[Any, Any]:
        sources = value.value if isinstance(value.value, list) else [value.value]
        merged: dict[Any, Any] = {}
        # By YAML's rule the first of several wins.
        for source in reversed(sources):
            if not isinstance(source, dict):
                line = line_of(self.text, value.start)
                raise UnsafeYamlError(f"line {line} merges what is no mapping")
            merged.update(source)
        return merged


# Loading a value takes about a millisecond, and files repeat theirs.
@lru_cache(maxsize=4096)
def _plain_value(text: str) -> Any:
    if text == "<<":
        return _MERGE
    # On their own `---` and `...` would be marks of a document.
    if len(text) > _LONGEST_TIMESTAMP or text.startswith(("---", "...")):
        return text
    if text and not _MAYBE_TYPED.match(text):
        return text
    try:
        value = normal(YAML().load(text))
    except READ_ERRORS:
        return text
    return text if isinstance(value, str | list | dict) else value


def _tagged_value(tag: str, text: str) -> Any:
    if tag in _TEXT_TAGS:
        return text
    try:
        return normal(YAML().load(f"!<{tag}> {json.dumps(text)}"))
    except READ_ERRORS:
        return ("tag", tag, text)
