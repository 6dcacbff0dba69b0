"""Makes a model's text harmless for what reads it: dbt, YAML, dbt docs, data catalogs.

Signs are kept and blanks put between them: an escape such as ``&lt;`` shows in each of the many
places that print a description as it is. Back-ticks protect nothing: the search of dbt docs puts a
description into the page as HTML, whatever stands around a tag.
"""

from __future__ import annotations

import re
from typing import Any

_NO_TEXT = {"null", "none", "n/a", "unknown", "not available", "no description"}
_AROUND_NO_TEXT = " .`'\"*_()[]<>"

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Direction marks, fillers, tag characters: what shows nothing and hides or reorders the rest."""

# Persian, Indic scripts and emoji need them inside of words.
_JOINED = "[^\x00-\u02ff\u2000-\u206f]"
_STRAY_JOINER = re.compile(f"(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})")

_FENCE = re.compile(r"([`~])\1{2,}")
_MARKUP = re.compile(
    r"(?P<code>`[^`]*`)"
    r"|!?\[(?P<label>[^\[\]]*)\]\(\s*<?(?P<target>[^()\s<>]*)>?[^()]*\)"
    r"|<(?P<link>https?://[^\s<>]+)>"
    r"|<(?P<line>/?(?:p|br|hr|li|ul|ol|div|h[1-6]|pre)\s*/?)>"
    r"|<(?P<tag>b|i|u|em|strong|code|span|small|sub|sup|kbd)>(?P<inner>[^<>]*)</(?P=tag)>",
    re.IGNORECASE,
)
"""What has a plain form that reads better than its signs set apart."""
_ADDRESS = re.compile(r"(?:https?://|mailto:|www\.)", re.IGNORECASE)
_TAG_BEGINS = re.compile(r"<(?=[A-Za-z/!?])")
_BLOCK_BEGINS = re.compile(r"(?:(?:(?:#{1,6}|[-*+]|-{3,})(?= |\Z)|>(?!=| ?\d)|~{3,}|\|) *)+")
_COMPARISON_BEGINS = re.compile(r"(>=|>(?= ?\d)) ?")
_JINJA_BEGINS = re.compile(r"\{(?=[{%#])")


def clean_text(value: Any) -> str | None:
    """Return a text on one line that is safe in a dbt YAML file, or None when there is none.

    dbt renders descriptions as Jinja: an opening delimiter from a model would break ``dbt parse``
    for the whole project, so a blank goes between its two characters; a closing one alone is text.
    The same parts an HTML tag from its bracket and a Markdown link from its address. Cleaning a
    clean text changes nothing.
    """
    if not isinstance(value, str):
        return None
    text = value
    # Printable ASCII shows all that it has.
    if not (text.isascii() and text.isprintable()):
        text = _visible(text)
    text = _MARKUP.sub(_plain, _one_line(text))
    # Also in code: what is code here is none for a renderer that pairs back-ticks differently.
    text = _TAG_BEGINS.sub("< ", text).replace("](", "] (")
    text = _FENCE.sub(r"\1", _without_block(_one_line(text)))
    # At the end a brace would be half of a delimiter that begins what is written after the text.
    text = _JINJA_BEGINS.sub("{ ", text).rstrip("{ ")
    bare = text.strip(_AROUND_NO_TEXT).lower()
    return None if bare in _NO_TEXT or not any(map(str.isalnum, text)) else text


def _visible(text: str) -> str:
    if _SURROGATE.search(text):
        # Halves that belong together are one character, the others are none.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    # Joiners last: beside an invisible character one seems to join something.
    return _STRAY_JOINER.sub("", _INVISIBLE.sub("", _CONTROL.sub(" ", text)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(markup: re.Match[str]) -> str:
    label = markup["label"]
    if markup["code"]:
        return markup[0]
    if label is not None:
        # An address stays to be seen: whether it may be written is for others to say.
        target = markup["target"]
        return f"{label} ({target})" if _ADDRESS.match(target) and target != label else label
    return markup["link"] or (" " if markup["line"] else markup["inner"])


def _without_block(line: str) -> str:
    """Return a line that Markdown takes for a paragraph.

    An ordered list stays: it looks the same, and "1. Bestellung" is German for the first order.
    """
    begins = _BLOCK_BEGINS.match(line)
    line = line[begins.end() :] if begins else line
    if line.startswith("["):
        line = line.replace("]:", "] :")  # a definition, which shows nothing
    return _COMPARISON_BEGINS.sub(r"`\1` ", line, count=1) if line.startswith(">") else line
