"""The edits that make a YAML file hold other data: its nodes compared with what is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dbt_osmosis_llm.writing.alignment import align
from dbt_osmosis_llm.writing.block import BlockChanges
from dbt_osmosis_llm.writing.edits import Edits
from dbt_osmosis_llm.writing.flow import FlowChanges
from dbt_osmosis_llm.writing.layout import Layout
from dbt_osmosis_llm.writing.rendering import Renderer
from dbt_osmosis_llm.writing.scalars import BLOCKS
from dbt_osmosis_llm.writing.styles import Style
from dbt_osmosis_llm.writing.tree import Node, UnsafeYamlError, gap_end, key_text, line_of


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands."""

    key: str | None
    """The key that it, or the sequence that it is in, stands below."""
    base: int
    """The column of that key, or of the dash."""
    path: tuple[Any, ...]
    """Keys and indexes from the root of the wanted data."""
    in_flow: bool = False
    behind: int = 0
    """Where the colon of its key ends."""
    is_item: bool = False


class Changes:
    """One attempt to change a file; `written` holds the paths of all that it wrote."""

    def __init__(self, text: str, root: Node | None, layout: Layout, *, cautious: bool) -> None:
        """Take a file; see `Renderer` for what cautious means."""
        self.text = text
        self.root = root
        self.layout = layout
        self.renderer = Renderer(layout, cautious=cautious)
        self.edits = Edits(text, layout.newline)
        self.block = BlockChanges(self.edits, layout, self.renderer)
        self.flow = FlowChanges(self.edits, layout, self.renderer)
        self.written: list[tuple[Any, ...]] = []
        # What each anchored node shall hold; aliases follow it.
        self.anchored: dict[int, Any] = {}
        self.rewritten: set[int] = set()

    def make(self, goal: dict[Any, Any]) -> str:
        """Return the text changed so that it holds the goal, a value in the form of `normal`.

        Raises:
            UnsafeYamlError: There is no safe edit for one of the changes.
        """
        if self.root is None:
            return self.begun(goal)
        self.change(self.root, goal, _Place(None, 0, ()))
        self.keep_last_block()
        return self.edits.changed()

    def begun(self, goal: dict[Any, Any]) -> str:
        """Return a file without data, which may hold comments, with the goal below them."""
        self.written += [(key,) for key in goal]
        lines = self.renderer.mapping(goal, 0, None, {})
        newline = self.layout.newline
        if not self.text.lstrip("\ufeff"):
            return self.text + "".join(line + newline for line in lines)
        ends = self.text.endswith("\n")
        before = self.text if ends else self.text + newline
        return before + newline.join(lines) + (newline if ends else "")

    def unsafe(self, node: Node, what: str) -> UnsafeYamlError:
        """Return the error that a node cannot be changed."""
        return UnsafeYamlError(f"line {line_of(self.text, node.start)} {what}")

    def change(self, node: Node, wanted: Any, place: _Place) -> None:
        """Edit what a node differs in from what is wanted of it."""
        if node.kind == "alias":
            self.change_alias(node, wanted, place)
            return
        if node.anchor:
            self.anchored[id(node)] = wanted
        # With anchors the walk goes on: what an alias in it stands for may have changed.
        if node.value == wanted and not self.layout.has_anchors:
            return
        if node.kind == "mapping" and isinstance(wanted, dict) and node.pairs:
            self.change_mapping(node, wanted, place)
        elif node.kind == "sequence" and isinstance(wanted, list) and node.items:
            self.change_sequence(node, wanted, place)
        elif node.value == wanted:
            return
        elif isinstance(wanted, dict | list):
            if node.value not in (None, "", [], {}) or place.is_item:
                raise self.unsafe(node, "has a value that cannot be replaced by this one")
            self.fill(node, wanted, place)
        elif node.kind == "scalar":
            self.change_scalar(node, wanted, place)
        else:
            raise self.unsafe(node, "has keys or items where a text is wanted")

    def effective(self, node: Node) -> Any:
        """Return what a node will hold, given that all before it is visited."""
        node = node.target or node
        return self.anchored.get(id(node), node.value)

    def change_alias(self, node: Node, wanted: Any, place: _Place) -> None:
        """Leave an alias whose anchor gets what is wanted of it, or write out what differs."""
        effective = self.effective(node)
        if effective == wanted:
            return
        if isinstance(wanted, dict) and isinstance(effective, dict) and place.is_item:
            self.extend_alias(node, wanted, place, effective)
        elif isinstance(wanted, dict | list) or isinstance(node.value, dict | list):
            raise self.unsafe(node, "refers by * to what should change here only")
        else:
            self.write_scalar(node, wanted, place, self.new_style(wanted, node, place))

    def extend_alias(
        self, node: Node, wanted: dict[Any, Any], place: _Place, effective: dict[Any, Any]
    ) -> None:
        """Make an item that is an alias a mapping that merges it and has more keys."""
        if place.in_flow or not effective.keys() <= wanted.keys():
            raise self.unsafe(node, "refers by * to what should change here only")
        self.written.append(place.path)
        self.edits.replace(node.start, node.start, "<<: ")
        missing = object()
        more = {key: v for key, v in wanted.items() if effective.get(key, missing) != v}
        first, *lines = self.renderer.mapping(more, node.column, place.key, {})
        lines = [" " * node.column + first, *lines]
        self.edits.insert_lines(self.edits.line_end(node.end), lines)

    # Scalars

    def change_scalar(self, node: Node, wanted: Any, place: _Place) -> None:
        """Replace a scalar, in its own style where that suits the new value."""
        style = None
        if isinstance(wanted, str) and not place.in_flow:
            style = self.kept_style(node, wanted, place) or self.new_style(wanted, node, place)
        self.write_scalar(node, wanted, place, style)

    def new_style(self, wanted: Any, node: Node, place: _Place) -> Style | None:
        """Return what the file would write a text in, None where that is left to `flow_scalar`."""
        if not isinstance(wanted, str) or place.in_flow:
            return None
        return self.layout.texts.style(place.key or "", wanted, self.column(node))

    def column(self, node: Node) -> int:
        """Return the column of a node behind its anchor."""
        return node.body - self.edits.line_start(node.body)

    def kept_style(self, node: Node, text: str, place: _Place) -> Style | None:
        """Return the node's own style if it suits a text."""
        if not isinstance(node.value, str):
            return None
        texts = self.layout.texts
        style = texts.style_of(place.base, node)
        if style.mark in BLOCKS:
            lines = self.text[node.body : node.end].count("\n")
            # A text that fills no line says nothing of the width.
            return style if lines > 1 and style.width >= 40 else replace(style, width=texts.width)
        # Empty quotes are a placeholder; how texts look the file's other ones show.
        if "\n" in text or (not node.value and texts.has_descriptions):
            return None
        fits = self.column(node) + len(text) <= texts.line_limit
        return style if style.wrapped or fits or place.key != "description" else None

    def write_scalar(self, node: Node, wanted: Any, place: _Place, style: Style | None) -> None:
        """Put a new scalar where one stands; a comment behind it stays."""
        self.written.append(place.path)
        self.rewritten.add(id(node))
        if style is None:
            head, below = self.flow_scalar(node, wanted, place), []
        else:
            head, *below = self.renderer.text(wanted, style, place.base, self.column(node))
        if node.style in BLOCKS:
            self.replace_block_scalar(node, head, below)
            return
        space = " " if node.body == node.end and self.text[node.body - 1] not in " \t" else ""
        self.edits.replace(node.body, node.end, space + head)
        if below:
            self.edits.insert_lines(self.edits.line_end(node.end), below)

    def flow_scalar(self, node: Node, wanted: Any, place: _Place) -> str:
        """Write a text inside of brackets, or a value that is no text."""
        if isinstance(wanted, str):
            mark = node.style if isinstance(node.value, str) and node.kind == "scalar" else ""
            return self.renderer.flow_text(wanted, mark)
        return self.renderer.scalar(wanted, place.key or "", 0, 0, None)[0]

    def replace_block_scalar(self, node: Node, head: str, below: list[str]) -> None:
        """Replace the sign and the lines of a block scalar; a comment behind the sign stays."""
        line_end = self.edits.line_end(node.body)
        sign_end = node.body
        while sign_end < line_end and self.text[sign_end] not in " \t":
            sign_end += 1
        self.edits.replace(node.body, sign_end, head)
        newline = self.edits.newline_at(line_end)
        lines = "".join(newline + line for line in below)
        self.edits.replace(line_end, max(line_end, node.end), lines)

    def keep_last_block(self) -> None:
        """Keep what a block scalar at the end of a file without a last line end loads to.

        Lines behind it would give it the line end that it does not have.
        """
        node = _last_scalar(self.root)
        if node is None or node.style not in BLOCKS or node.end < len(self.text) or not node.value:
            return
        sign_end = node.body + 1
        clips = self.text[sign_end : sign_end + 1] not in ("-", "+")
        if clips and id(node) not in self.rewritten and self.edits.inserts_at(len(self.text)):
            self.edits.replace(sign_end, sign_end, "-")

    # Mappings

    def change_mapping(self, node: Node, wanted: dict[Any, Any], place: _Place) -> None:
        """Change the values of a mapping, add keys and, at the top level, remove some."""
        pairs = {key.value: (key, value) for key, value in node.pairs if not key.is_merge}
        merged = self.merged(node)
        for name in merged:
            if name not in wanted:
                raise self.unsafe(node, f"would get the key {key_text(name)!r} from an anchor")
        removed = [name for name in pairs if name not in wanted]
        if removed and (node is not self.root or node.style == "flow"):
            what = f"has the key {key_text(removed[0])!r}, which would go"
            raise self.unsafe(pairs[removed[0]][0], what)
        for name, (key, value) in pairs.items():
            if name in wanted:
                inner = _Place(
                    name if isinstance(name, str) else None,
                    key.column,
                    (*place.path, name),
                    in_flow=node.style == "flow",
                    behind=gap_end(self.text, key.end) + 1,
                )
                self.change(value, wanted[name], inner)
        added = [
            name
            for name in wanted
            if name not in pairs and (name not in merged or merged[name] != wanted[name])
        ]
        self.written += [(*place.path, name) for name in added]
        own = {*pairs, *added}
        before = {name for name in self.merged(node, effective=False) if name in pairs}
        moved = self.late_merge(node) if any(n in own and n not in before for n in merged) else None
        if moved:
            self.merge_first(node, moved)
        if added and node.style == "flow":
            self.flow.add_keys(node, {name: wanted[name] for name in added}, place.key)
        elif added:
            more = {name: wanted[name] for name in added}
            self.block.add_keys(node, more, place.key, is_top=node is self.root)
        if removed:
            self.block.remove_keys(node, set(removed))
        if moved:
            self.remove_merge(node, moved)

    def late_merge(self, node: Node) -> tuple[Node, Node] | None:
        """Return the merge key of a mapping with its value if it stands behind other keys.

        dbt takes a key of the mapping's own that is merged as well for one that is there twice,
        unless the merge key is the first.
        """
        late = next((pair for pair in node.pairs[1:] if pair[0].is_merge), None)
        if late and "\n" in self.text[late[0].start : late[1].end]:
            raise self.unsafe(late[0], "merges keys of which one would be overridden before it")
        return late

    def merge_first(self, node: Node, pair: tuple[Node, Node]) -> None:
        """Write a merge key before the first key of its mapping."""
        key, value = pair
        first = node.pairs[0][0]
        if node.style == "flow":
            written = f"{self.text[key.start : value.end]}, "
        else:
            line_end = self.edits.line_end(value.end)
            margin = self.edits.newline_at(line_end) + " " * first.column
            written = self.text[key.start : line_end] + margin
        self.edits.replace(first.start, first.start, written)

    def remove_merge(self, node: Node, pair: tuple[Node, Node]) -> None:
        """Remove a merge key that stands behind others, its line with it."""
        key, value = pair
        if node.style == "flow":
            before = node.pairs[node.pairs.index(pair) - 1]
            self.edits.replace(max(before[0].end, before[1].end), value.end, "")
            return
        line_end = self.edits.line_end(value.end)
        self.edits.replace(self.edits.previous_line_end(key.start), line_end, "")

    def merged(self, node: Node, *, effective: bool = True) -> dict[Any, Any]:
        """Return what a mapping will get from its merge key, or what it gets now."""
        merged: dict[Any, Any] = {}
        for key, value in node.pairs:
            if not key.is_merge:
                continue
            several = value.kind == "sequence"
            for source in reversed(value.items if several else [value]):
                keys = self.effective(source) if effective else source.value
                if not isinstance(keys, dict):
                    raise self.unsafe(value, "merges what would be no mapping")
                merged.update(keys)
        return merged

    # Sequences

    def change_sequence(self, node: Node, wanted: list[Any], place: _Place) -> None:
        """Change the items of a sequence, add some and remove some."""
        alignment = align(node.value, wanted)
        if alignment is None:
            raise self.unsafe(node, "begins a list whose items change places")
        in_flow = node.style == "flow"
        column = 0 if in_flow else self.layout.dash_column(node)
        for old, new in alignment.kept:
            inner = _Place(place.key, column, (*place.path, new), in_flow=in_flow, is_item=True)
            self.change(node.items[old], wanted[new], inner)
        for added in alignment.added.values():
            self.written += [(*place.path, new) for new in added]
        if in_flow:
            self.flow.change_items(node, wanted, alignment, place.key)
            return
        if not wanted:
            self.empty(node, place)
        self.block.change_items(node, wanted, alignment, place.key)

    def empty(self, node: Node, place: _Place) -> None:
        """Put `[]` behind the key of a block sequence that loses all its items."""
        if place.is_item or node.body != node.start:
            raise self.unsafe(node, "begins a list that cannot be emptied")
        self.edits.replace(place.behind, place.behind, " []")

    def fill(self, node: Node, wanted: dict[Any, Any] | list[Any], place: _Place) -> None:
        """Put keys or items where nothing stands, an empty text or a pair of brackets."""
        if node is self.root:
            raise self.unsafe(node, "has no keys")
        self.written.append(place.path)
        start = node.body
        if node.end > start:
            while self.text[start - 1] in " \t":
                start -= 1
        # `tests: []` asks for `tests: [unique]`, `columns: []` for a list below it.
        is_short = node.style == "flow" and not any(isinstance(x, dict | list) for x in wanted)
        if place.in_flow or not wanted or self.layout.is_flow(place.key, is_short):
            written = self.renderer.flow(wanted, place.key)
            self.edits.replace(start, node.end, f" {written}")
            return
        is_mapping = isinstance(wanted, dict)
        offset = self.layout.key_offset() if is_mapping else self.layout.dash_offset(place.key)
        column = place.base + offset
        first, *more = self.renderer.block(wanted, column, place.key)
        self.edits.replace(start, node.end, "")
        self.edits.insert_lines(self.edits.line_end(node.end), [" " * column + first, *more])


def _last_scalar(node: Node | None) -> Node | None:
    while node is not None and node.kind in ("mapping", "sequence") and node.style == "block":
        node = node.pairs[-1][1] if node.pairs else node.items[-1]
    return node
