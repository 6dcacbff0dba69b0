"""Takes keys out of text that somebody may read: logs, errors, statistics.

Only known values, known shapes and labelled values go. Masking every long word, as dbt-osmosis
does, turns model names, hashes and request ids into noise and still shows a short key. Every
pattern below either consumes what it has scanned or scans a bounded stretch, so time is linear
in the text whatever a server puts into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"

_MIN_SECRET_CHARS = 6
"""Shorter values (``none``, ``test``) are parts of ordinary words: they are masked only where a
label, a URL or a header says that they are a credential."""

_PLACEHOLDERS = frozenset({"lm-studio", "no-key-required", "not-needed", "ollama"})
"""What people set for local servers that want no key: masking it would hide the provider's name."""

# A word's start, also behind the escapes that end in a letter: "\\nsk-…", "%20sk-…", "\\u003dsk-…".
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
# Random characters hold a digit or change case, words such as "sk-learn-compatible" do not.
_RANDOM = r"(?=[A-Za-z0-9_-]{0,40}(?:[0-9]|[a-z][A-Z]))"

_SHAPES = (
    # OpenAI (project, service account, administrator, user), Anthropic, OpenRouter, Langfuse
    rf"sk-(?:proj|svcacct|admin|None|ant|or|lf)-{_RANDOM}[A-Za-z0-9_-]{{16,}}",
    # OpenAI's first keys, DeepSeek and the many that imitate them
    rf"sk-{_RANDOM}(?:[A-Za-z0-9]{{1,15}}[_-]){{0,4}}[A-Za-z0-9]{{16,}}[A-Za-z0-9_-]*",
    r"AIza[A-Za-z0-9_-]{30,}",  # Google
    r"AQ\.[A-Za-z0-9_-]{30,}",  # Google, bound to a service account
    r"ya29\.[A-Za-z0-9_.-]{16,}",  # Google OAuth
    # Groq, Hugging Face, Fireworks; xAI, Perplexity, Cerebras
    rf"(?:gsk_|hf_|fw_|xai-|pplx-|csk-){_RANDOM}[A-Za-z0-9]{{20,}}",
    rf"(?:nvapi-|tgp_v1_|glpat-){_RANDOM}[A-Za-z0-9_-]{{16,}}",  # NVIDIA, Together, GitLab
    r"dapi[0-9a-f]{32}(?:-\d)?(?![A-Za-z0-9])",  # Databricks
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",  # AWS
    rf"(?:gh[oprsu]_|github_pat_){_RANDOM}[A-Za-z0-9_]{{20,}}",
    r"(?:xox[a-z]|xapp)-[0-9][A-Za-z0-9-]{9,}",  # Slack
)
_SHAPE = re.compile(f"{_START}(?:{'|'.join(_SHAPES)})")

_MARKS = (
    *("sk-", "AIza", "AQ.", "ya29.", "gsk_", "hf_", "fw_", "xai-", "pplx-", "csk-", "nvapi-"),
    *("tgp_v1_", "glpat-", "dapi", "AKIA", "ASIA", "gho_", "ghp_", "ghr_", "ghs_", "ghu_"),
    *("github_pat_", "xox", "xapp-"),
)
"""One of them is in whatever has a shape: without any, the slow search is not made."""

# Not inside a longer run: each run is then scanned once, however often it repeats "eyJ".
_JWT = re.compile(
    r"(?:(?<![A-Za-z0-9_.-])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f]{2}))"
    r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){1,4}"
)

_QUOTE = r"b?\\{0,3}[\"']"
_CHAR = r"[^\s\"'`\\,;&<>(){}\[\]]"
# What stands bare behind a label may be prose or code ("api key: missing", "api_key=row.api_key").
_CREDENTIAL = rf"(?={_CHAR}{{0,100}}(?:[0-9=]|[a-z][A-Z]))(?:{_CHAR}|\\/){{6,}}"

_LABELLED = re.compile(
    r"(?P<label>(?i:authorization|api[ _-]?key(?:\ provided)?|subscription-key"
    r"|(?:access|auth|id|refresh|session|security)[_-]?token|client[_-]?secret"
    rf"|secret[_-]?access[_-]?key)(?:{_QUOTE})?\s{{0,3}})"
    # In quotes all goes: as JSON, as a dict, as keyword arguments.
    rf"(?:(?P<quoted>(?:[:=]|=>)\s{{0,3}}{_QUOTE}(?i:(?:bearer|basic|token)\s{{1,3}})?)"
    rf"(?:[^\s\"'\\]|\\/){{1,4096}}(?={_QUOTE})"
    # The comma is that of header pairs: (b"authorization", b"Bearer …").
    rf"|(?P<bare>(?:[:=]|=>|(?<=[\"']),)\s{{0,3}}(?:{_QUOTE})?"
    rf"(?i:(?:bearer|basic|token)\s{{1,3}})?){_CREDENTIAL})"
)
_SCHEME = re.compile(
    r"(?P<scheme>\b[Bb]earer\s{1,3})"
    r"(?=[A-Za-z0-9._~+/=-]{0,100}(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<basic>\b[Bb]asic\s{1,3})"
    r"(?=[A-Za-z0-9+/]{0,100}(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9+/]{8,}={0,2}(?![A-Za-z0-9_.-])"
)
_QUERY = re.compile(
    r"(?P<name>(?:[?&]|&amp;|%26|%3f|\\u0026)"
    r"(?:key|api[_-]?key|(?:access[_-]?|auth[_-]?|id[_-]?)?token|sig|subscription-key)(?:=|%3d))"
    r"(?:(?!%26)[^\s\"'`\\&#<>(){}\[\],;])+",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?P<user>://[^\s\"'/?#:@]{0,256}:)[^\s\"'/?#]+@")


def redact_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with ``***`` for every key in it.

    Masked are the given values (plain, URL-encoded, JSON-escaped), words of a provider's key
    shape, and whatever stands as a credential behind a label such as ``x-api-key:``, in a query
    such as ``?key=`` or as the password of a URL. Given values of fewer than six characters are
    masked in those places only. Redact before cutting a text: a cut key has lost its shape.
    """
    text = _SHAPE.sub(MASK, text)
    text = _JWT.sub(MASK, text)
    # After the shapes: a given value that is only the beginning of a key must not save its rest.
    text = mask_values(text, secrets)
    text = _LABELLED.sub(_masked_label, text)
    text = _SCHEME.sub(lambda match: f"{match['scheme'] or match['basic']}{MASK}", text)
    text = _QUERY.sub(rf"\g<name>{MASK}", text)
    return _USERINFO.sub(rf"\g<user>{MASK}@", text)


def mask_values(text: str, secrets: Iterable[str]) -> str:
    """Return the text with ``***`` for the given values alone, for texts that are to be kept.

    Values that are words, as local servers take them for a key, are left alone.
    """
    pattern = _known_values(tuple(sorted(set(secrets))))
    return pattern.sub(MASK, text) if pattern else text


def mask_keys(text: str, secrets: Iterable[str]) -> str:
    """Return the text with ``***`` for the given values and for what has a provider's key shape.

    For texts that are kept or asked again: nothing that only stands beside a label is touched.
    """
    if any(mark in text for mark in _MARKS):
        text = _SHAPE.sub(MASK, text)
    return mask_values(text, secrets)


def _masked_label(match: re.Match[str]) -> str:
    return f"{match['label']}{match['quoted'] or match['bare']}{MASK}"


@lru_cache(maxsize=64)
def _known_values(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return a pattern for the given values and their spellings in URLs and JSON."""
    spellings: set[str] = set()
    for secret in map(str.strip, secrets):
        if len(secret) < _MIN_SECRET_CHARS or secret.lower() in _PLACEHOLDERS:
            continue
        plain = {secret, secret.replace("/", "\\/"), repr(secret)[1:-1]}
        plain |= {json.dumps(secret, ensure_ascii=ascii_)[1:-1] for ascii_ in (True, False)}
        encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
        # RFC 3986 lets the two digits be written in either case.
        encoded |= {re.sub(r"%..", lambda code: code[0].lower(), text) for text in encoded}
        spellings |= plain | encoded
    # Longest first: a spelling may begin with another one.
    ordered = sorted(spellings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
