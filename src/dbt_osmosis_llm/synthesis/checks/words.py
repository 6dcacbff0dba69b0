"""The words of texts, names and SQL: taken apart, stemmed, told apart from quotes.

There is no dictionary and no list of stems: two words are compared only with each other, so a
crude stem is right when it is the same crude stem for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dbt_osmosis_llm.evidence.names import word_set

TOKEN = re.compile(r"\w+")
"""A word as it stands in SQL or prose, underscores included."""

_SUFFIX = re.compile(r"(?:ations?|ions?|ings?|ed|es|s|e)\Z")
_DOUBLED = re.compile(r"([b-df-hj-np-tv-z])\1\Z")
_MIN_STEM_CHARS = 3

_CODE = re.compile(r"`([^`]*)`")
_QUOTED = re.compile(
    "(?<!\\w)(?:'(?=\\S)([^'\n]{1,80})'|\"(?=\\S)([^\"\n]{1,80})\""
    "|\u2018(?=\\S)([^\u2018\u2019\n]{1,80})\u2019"
    "|[\u201c\u201e](?=\\S)([^\u201c\u201d\u201e\n]{1,80})[\u201c\u201d]"
    "|[«»]([^«»\n]{1,80})[«»])(?!\\w)"
)
_LINK = re.compile(r"(?:https?|ftp|s3|gs)://[^\s`'\"<>]+")
_GAP = "…"
"""Stands where something was quoted, so that the words around it stay apart."""


_SHORT_FORMS = {
    "identifier": "id",
    "num": "number",
    "nr": "number",
    "cnt": "number",
    "count": "number",
    "qty": "quantity",
    "amt": "amount",
    "pct": "percent",
    "percentage": "percent",
    "avg": "average",
    "dt": "date",
    "ts": "timestamp",
    "desc": "description",
    "cust": "customer",
    "addr": "address",
}

FUNCTION_WORDS = word_set(
    "a an the this that these those it its of for in on at by to from with as and or is are was "
    "were be been has have had which who whom whose when where what how if each every any all one "
    "per whether not no than then there their"
)

SQL_WORDS = word_set(
    "select from where group by order partition over rows range between unbounded preceding "
    "following current row having qualify join left right inner outer full cross on using union "
    "all distinct case when then else end and or not null is in like ilike rlike exists any some "
    "as asc desc first last nulls true false interval cast within filter limit with array struct "
    "map json variant object int integer bigint smallint tinyint int64 float float64 double "
    "precision real numeric number decimal char varchar text string bool boolean date datetime "
    "time timestamp timestamptz timestamp_ntz timestamp_tz timestamp_ltz utc at zone year quarter "
    "month week day hour minute second dow doy epoch sum count avg min max coalesce ifnull nvl "
    "nullif row_number rank dense_rank lag lead date_trunc extract upper lower trim concat "
    "substring replace round floor ceil abs greatest least nan"
)
"""What SQL is made of besides names, in lower case."""

_ENGLISH = word_set(
    "the of and with that which for from by when whether be are as has not to is was were a an "
    "in on at or it its this per if"
)
_FOREIGN = word_set(
    "der das und ist nicht den dem des ein eine einer für mit von im zur zum auf wird oder wenn "
    "el los las del que un una y en es por para con le les et est une du au aux pour dans sur ou "
    "il lo gli di che è della dello dei delle da nel é dos na em os uma het een van voor met op "
    "niet och av som är på og til af ikke ett ang ng mga sa kung nie się jest dla ve bir için ile"
)


def stem(word: str) -> str:
    """Return what a word in lower case shares with its other forms and its abbreviation."""
    word = _SHORT_FORMS.get(word, word)
    if len(word) <= _MIN_STEM_CHARS:
        return word
    word = word.removesuffix("ly")
    short = word[:-3] + "y" if word.endswith("ies") else _SUFFIX.sub("", word)
    # "Shipped" doubles the letter before its ending.
    short = _DOUBLED.sub(r"\1", short)
    short = short if len(short) >= _MIN_STEM_CHARS else word
    return _SHORT_FORMS.get(short, short)  # of a plural: `pcts` is percent


def stems(words: Iterable[str]) -> set[str]:
    """Return the stems of words in lower case."""
    return {stem(word) for word in words}


def bare(name: str) -> str:
    """Return a name without what two spellings of it differ in: case and underscores."""
    return name.lower().replace("_", "")


def code_of(text: str) -> list[str]:
    """Return what stands in back-ticks."""
    return _CODE.findall(text)


def without_links(text: str) -> str:
    """Return a text without addresses: their words and numbers name nothing."""
    return _LINK.sub(_GAP, text)


def without_code(text: str) -> str:
    """Return a text without what stands in back-ticks."""
    return _CODE.sub(_GAP, text)


def quotes_of(text: str) -> list[str]:
    """Return what stands in quotes, back-ticks left out; an apostrophe is none."""
    return ["".join(filter(None, quote.groups())) for quote in _QUOTED.finditer(without_code(text))]


def prose_of(text: str) -> str:
    """Return what a text says in its own words, on one line."""
    return " ".join(_QUOTED.sub(_GAP, without_code(text)).split())


def word_count(text: str) -> int:
    """Return the number of words; what stands in back-ticks counts as one."""
    words = without_code(text).split()
    return sum(_GAP in word or any(map(str.isalnum, word)) for word in words)


def is_english(text: str) -> bool:
    """Tell whether a text is in English, or could be."""
    letters = sum(map(str.isalpha, text))
    if 5 * sum(not c.isascii() and c.isalpha() for c in text) > letters:
        return False
    words = [word.lower() for word in TOKEN.findall(text)]
    foreign = sum(word in _FOREIGN for word in words)
    return foreign == 0 or foreign < sum(word in _ENGLISH for word in words)
