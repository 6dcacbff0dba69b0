"""How a text can be written as a YAML scalar.

A text is left plain only where YAML 1.1 (PyYAML, which dbt reads with) and YAML 1.2 (ruamel.yaml,
which dbt-osmosis reads with) both read it back as that text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dbt_osmosis_llm.writing.tree import UnsafeYamlError

QUOTES = ("'", '"')
BLOCKS = ("|", ">")

# Characters that only a double-quoted scalar can hold: some end a line for one reader only.
_UNPRINTABLE = re.compile(
    "[^\n\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_INDICATORS = "-?:,[]{}#&*!|>'\"%@`"
_WORDS_THAT_ARE_VALUES = frozenset(
    ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "=", "<<", "...")
)
# Numbers, dates and times of both versions, and some texts that only look like them.
_LOOKS_TYPED = re.compile(
    r"[-+.0-9][-+.0-9_:,a-fA-FoOxXtTzZ \t]*|[-+]?\.(?:inf|nan)", re.IGNORECASE
)
# A space that a line end may stand for.
_BREAK = re.compile(r"(?<=[^ \t\\]) (?=[^ \t])")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def works_plain(text: str, *, in_flow: bool = False) -> bool:
    """Tell whether a text can stand without quotes on one line."""
    if not text or text != text.strip() or text[0] in _INDICATORS or text[-1] == ":":
        return False
    if ": " in text or " #" in text or "\n" in text or "\t" in text or _UNPRINTABLE.search(text):
        return False
    if in_flow and any(sign in text for sign in ",?[]{}"):
        return False
    return text.lower() not in _WORDS_THAT_ARE_VALUES and not _LOOKS_TYPED.fullmatch(text)


def quoted(text: str, quote: str) -> str:
    """Write a text on one line in quotes, in double ones where single ones cannot hold it."""
    if "{{" in text and "'" in text and not any(sign in text for sign in '"\\'):
        quote = '"'  # "{{ doc('x') }}" and not '{{ doc(''x'') }}'
    if quote == "'" and not _UNPRINTABLE.search(text) and "\n" not in text and "\t" not in text:
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escaped(sign) for sign in text) + '"'


def _escaped(sign: str) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if not _UNPRINTABLE.match(sign):
        return sign
    code = ord(sign)
    if 0xD800 <= code <= 0xDFFF:
        raise UnsafeYamlError(f"half a character (U+{code:04X}) is nothing that a file can hold")
    if code > 0xFFFF:
        return f"\\U{code:08X}"
    return f"\\u{code:04X}" if code > 0xFF else f"\\x{code:02X}"


def chomping(text: str) -> str | None:
    """Return the sign of a block scalar for the line ends a text ends with, None if none fits."""
    if text.endswith("\n\n"):
        return None
    return "" if text.endswith("\n") else "-"


def literal_lines(text: str) -> list[str] | None:
    """Return the lines of a literal block, None if a text cannot be written as one."""
    lines = text.removesuffix("\n").split("\n")
    if not _works_in_block(text) or any(line and not line.strip() for line in lines):
        return None
    return lines


def folded_lines(text: str, width: int) -> list[str] | None:
    """Return the lines of a folded block, each up to `width` characters where words allow it.

    None if a text cannot be written as one.
    """
    paragraphs = text.removesuffix("\n").split("\n")
    if not _works_in_block(text) or any(part != part.strip() for part in paragraphs):
        return None
    lines = wrapped(paragraphs[0], width, width)
    for paragraph in paragraphs[1:]:
        # In a folded block a line end alone reads as a space: it takes an empty line to be one.
        lines += ["", *wrapped(paragraph, width, width)] if paragraph else [""]
    return lines


def _works_in_block(text: str) -> bool:
    return bool(
        text.strip()
        and text[0] not in " \t\n"
        and chomping(text) is not None
        and not _UNPRINTABLE.search(text)
    )


def wrapped(written: str, first_width: int, width: int) -> list[str]:
    """Break a text at single spaces into lines that a YAML reader folds to that text again.

    Args:
        written: A plain scalar, a quoted one with its quotes, or a paragraph of a folded one.
        first_width: Characters that the first line has room for.
        width: Characters that each other line has room for.
    """
    lines: list[str] = []
    line, room = "", first_width
    for word in _BREAK.split(written):
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line, room = word, width
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def scalar_text(value: object) -> str | None:
    """Write a value that is no text, in the form of `tree.normal`; None if it cannot be."""
    if value is None:
        return "null"
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    kind, plain = value
    if kind == "bool":
        return "true" if plain else "false"
    if kind == "float":
        return _float_text(plain)
    return str(plain) if kind in ("int", "date", "datetime") else None


def _float_text(value: float | str) -> str:
    if value in ("nan", float("inf"), float("-inf")):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    mantissa, exponent, power = repr(value).partition("e")
    # YAML 1.1 takes a number with an exponent for one only if it has a point and a sign.
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent}{power}"
