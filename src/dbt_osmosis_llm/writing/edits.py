"""Changes of a text by offsets: what no edit names stays byte for byte."""

from __future__ import annotations

import re

from dbt_osmosis_llm.writing.tree import UnsafeYamlError

_COMMENT_OR_BLANK = re.compile(r"([ \t]*)(#[^\n]*)?\r?(?:\n|\Z)")
# A line that was YAML before someone put a `#` before it (`# - name: id`, `# tests:`), or a banner
# such as `# --- keys ---`: they are about more than the next line.
_STANDS_ALONE = re.compile(r"[ \t]*(?:#+[ \t]*(?:-[ \t]|[\w\"']+:(?:[ \t]|$))|.*([-=*#~_])\1\1)")


class Edits:
    """Replacements in one text, applied together; those at one offset in the order they came in."""

    def __init__(self, text: str, newline: str) -> None:
        """Take the text, and the line end to use where it has none."""
        self.text = text
        self.newline = newline
        self._edits: list[tuple[int, int, str]] = []

    def replace(self, start: int, end: int, new: str) -> None:
        """Replace what stands from `start` up to `end`; nothing when they are equal."""
        self._edits.append((start, end, new))

    def insert_lines(self, line_end: int, lines: list[str]) -> None:
        """Insert whole lines behind the line that ends at an offset."""
        newline = self.newline_at(line_end)
        self.replace(line_end, line_end, "".join(newline + line for line in lines))

    def changed(self) -> str:
        """Return the text with all edits made."""
        parts = []
        done = 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[0]):
            if start < done:
                raise UnsafeYamlError("two changes meet in one place")
            parts += [self.text[done:start], new]
            done = end
        return "".join([*parts, self.text[done:]])

    def inserts_at(self, offset: int) -> bool:
        """Tell whether something is inserted at an offset."""
        return any(start == end == offset and new for start, end, new in self._edits)

    def newline_at(self, line_end: int) -> str:
        """Return the line end of the line that ends at an offset, or of the one before it."""
        if line_end < len(self.text):
            return "\r\n" if self.text[line_end] == "\r" else "\n"
        last_newline = self.text.rfind("\n")
        if last_newline < 0:
            return self.newline
        return "\r\n" if self.text[last_newline - 1 : last_newline] == "\r" else "\n"

    def line_start(self, offset: int) -> int:
        """Return where the line of an offset begins."""
        return self.text.rfind("\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        """Return where the line of an offset ends, before its line end."""
        end = self.text.find("\n", offset)
        if end < 0:
            return len(self.text)
        return end - 1 if end > offset and self.text[end - 1] == "\r" else end

    def previous_line_end(self, offset: int) -> int:
        """Return where the line before that of an offset ends, before its line end.

        Raises:
            UnsafeYamlError: There is none.
        """
        start = self.line_start(offset)
        if start == 0:
            raise UnsafeYamlError("there is no line before the first one")
        return start - 2 if self.text[start - 2 : start - 1] == "\r" else start - 1

    def tail_end(self, offset: int, column: int) -> int:
        """Return the line end behind an entry: that of its last line or of its last comment.

        Args:
            offset: Where the entry's last value ends.
            column: The column of the entry; comment lines that are indented more belong to it.
        """
        end = self.line_end(offset)
        probe = self.next_line(end)
        while probe < len(self.text) and (match := _COMMENT_OR_BLANK.match(self.text, probe)):
            if match[2]:
                if len(match[1]) <= column:
                    break
                end = self.line_end(probe)
            probe = match.end()
        return end

    def blank_lines_end(self, line_end: int) -> int:
        """Return the end of the last blank line that follows the line that ends at an offset."""
        end = line_end
        while (start := self.next_line(end)) < len(self.text):
            next_end = self.line_end(start)
            if self.text[start:next_end].strip():
                break
            end = next_end
        return end

    def next_line(self, line_end: int) -> int:
        """Return where the line behind the one that ends at an offset begins."""
        end = self.text.find("\n", line_end)
        return len(self.text) if end < 0 else end + 1

    def head_start(self, offset: int, column: int, *, removes: bool = False) -> int:
        """Return the start of the comment lines that stand right above the line of an offset.

        Args:
            offset: In the line below the comments.
            column: The comments are indented no more than this.
            removes: Leave the comments out if they may be about more than that line.
        """
        start = first = self.line_start(offset)
        while start > 0:
            above = self.line_start(start - 1)
            line = self.text[above:start]
            indent = len(line) - len(line.lstrip(" \t\ufeff"))
            if not line.strip().lstrip("\ufeff").startswith("#"):
                break
            if indent > column:
                break
            if removes and _STANDS_ALONE.match(line.rstrip("\r\n")):
                return first
            start = above
        return start

    def behind_blank_lines_above(self, offset: int) -> int:
        """Return the end of the last line above an offset that is not blank."""
        end = self.previous_line_end(offset)
        while end > 0 and not self.text[self.line_start(end) : end].strip():
            end = self.previous_line_end(end)
        return end
