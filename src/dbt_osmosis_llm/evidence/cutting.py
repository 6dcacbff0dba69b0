"""Texts cut to a length, with a mark where something is missing.

Prompts take so much of a text and the mark beside it; what is kept has no more characters than it
says, the mark among them. Hashes are made of both, so neither may become the other.
"""

from __future__ import annotations

_MARK = " …"


def cut(text: str, max_chars: int) -> str:
    """Return a text, or so many characters of it and a mark."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}{_MARK}"


def one_line(text: str, max_chars: int) -> str:
    """Return a text on one line, cut."""
    return cut(" ".join(text.split()), max_chars)


def fit(text: str, max_chars: int, mark: str = _MARK) -> str:
    """Return a text of at most so many characters, those of the mark included."""
    return text if len(text) <= max_chars else text[: max_chars - len(mark)].rstrip() + mark


def fit_sql(sql: str, max_chars: int, mark: str = _MARK) -> str:
    """Return SQL of at most so many characters, cut before a string that would not be whole.

    Half an address is none that could be told and masked.
    """
    text = fit(sql, max_chars, mark)
    if text == sql:
        return sql
    kept = text[: -len(mark)]
    whole = kept[: kept.rindex("'")] if kept.count("'") % 2 else kept
    return whole.rstrip() + mark
