"""Checks of generated texts against the evidence, without a model.

A complaint is only a warning, and a wrong one costs more trust than a missing one: in doubt, each
check keeps silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cached_property

from dbt_osmosis_llm.evidence.build_values import build_value_in
from dbt_osmosis_llm.evidence.facts import MARKER, ColumnKind, ColumnLineage
from dbt_osmosis_llm.evidence.names import folded, pieces, unquoted, word_set
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence
from dbt_osmosis_llm.synthesis.checks import phrases
from dbt_osmosis_llm.synthesis.checks.figures import Figures
from dbt_osmosis_llm.synthesis.checks.words import (
    FUNCTION_WORDS,
    SQL_WORDS,
    TOKEN,
    bare,
    code_of,
    is_english,
    prose_of,
    quotes_of,
    stems,
    without_code,
    without_links,
    word_count,
)

MAX_WORDS = 40
_MAX_NAMED = 3
"""Offending words that one message names."""
_MAX_NAMED_CHARS = 60


class ComplaintKind(str, Enum):
    """What is wrong with a text."""

    RESTATES_NAME = "restates name"
    UNIQUENESS = "unproven uniqueness"
    NOT_IN_EVIDENCE = "not in evidence"
    BUILD_VALUE = "value of the build"
    TOO_LONG = "too long"
    WORDING = "wording"
    SAME_TEXT = "same text"
    UNSAFE = "unsafe"


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with one text."""

    column: str
    """Empty for the table's own text."""
    kind: ComplaintKind
    message: str
    """One line that goes on from "the text", for a person or a model."""


def check_texts(
    evidence: NodeEvidence, texts: Mapping[str, str], *, shown: Iterable[str] = ()
) -> list[Complaint]:
    """Return what is wrong with the texts of one node, at most one complaint of a kind for each.

    Args:
        evidence: What is known of the node.
        texts: Column name to text; the empty name stands for the table itself.
        shown: What else the model was told, such as a glossary: what that names is known, too.
    """
    index = _EvidenceIndex(evidence, shown)
    same_texts = dict(_same_texts(index, texts))
    complaints: list[Complaint] = []
    for name, text in texts.items():
        if text.strip():
            faults = list(_Check(index, name, text).complaints())
            if name in same_texts:
                faults.append((ComplaintKind.SAME_TEXT, same_texts[name]))
            complaints.extend(Complaint(name, kind, message) for kind, message in faults)
    return complaints


class _EvidenceIndex:
    """All that the evidence names, and what it says of single columns."""

    def __init__(self, node: NodeEvidence, shown: Iterable[str]) -> None:
        self.node = node
        self.columns = {column.name: column for column in node.columns}
        self._text = "\n".join([*strings_of(node), *shown])
        self.figures = Figures(self._text, _sizes(node))

    @cached_property
    def _names(self) -> set[str]:
        return {bare(token) for token in TOKEN.findall(self._text)}

    @cached_property
    def pieces(self) -> set[str]:
        """The parts of all words, in lower case."""
        return set(pieces(self._text))

    @cached_property
    def table_stems(self) -> set[str]:
        """The words of the names of the tables that the SQL reads."""
        return stems(p for name in self.node.facts.relations for p in pieces(name))

    @cached_property
    def table_names(self) -> set[str]:
        """The parts of the names of the node and of the tables that it reads."""
        names = [self.node.name, *(table.name for table in self.node.upstream)]
        return {p for name in names for p in pieces(name)}

    def has_name(self, word: str) -> bool:
        """Tell whether a word stands in the evidence as it is, or in the singular."""
        name = bare(word)
        return name in self._names or (name.endswith("s") and name[:-1] in self._names)

    def lineage(self, name: str) -> ColumnLineage | None:
        """Return what a column is made of, if that is known."""
        lineage = self.node.facts.column(unquoted(name))
        return None if lineage and lineage.kind is ColumnKind.UNKNOWN else lineage

    def leaf_texts(self, lineage: ColumnLineage | None) -> list[str]:
        """Return the texts of the columns that a column is made of."""
        return [text for _, _, text in self.node.leaves(lineage) if text]


def strings_of(evidence: object) -> Iterator[str]:
    """Yield all texts and names in some data."""
    if isinstance(evidence, str):
        yield evidence
    elif isinstance(evidence, Mapping):
        yield from strings_of([*evidence.keys(), *evidence.values()])
    elif is_dataclass(evidence):
        yield from strings_of([getattr(evidence, field.name) for field in fields(evidence)])
    elif isinstance(evidence, (tuple, list)):
        for item in evidence:
            yield from strings_of(item)


def _sizes(node: NodeEvidence) -> Iterator[int]:
    """Yield how many tables, keys and accepted values there are: a text may count them."""
    facts = node.facts
    yield from (len(facts.relations), len(facts.group_by), len(facts.row_number_partition))
    for column in node.columns:
        yield len(column.values)
        yield from (test.count(", ") + 1 for test in column.tests)


_NO_COLUMN = ColumnEvidence("")
_LAYERS = word_set("stg staging int intermediate fct fact dim dimension mart raw base src")
_TIME_STEMS = stems(["at", "on", "date", "time", "timestamp", "datetime"])
_EMPTY_STEMS = stems(
    FUNCTION_WORDS
    | word_set(
        "column field attribute table model view data dataset record row value information detail "
        "entry contains represents representation stores storing holds indicates indicator "
        "denotes describes describing shows specifies states refers reference associated "
        "corresponding respective given specific particular related relevant certain flag true "
        "false boolean"
    )
)
"""What says nothing besides the words around it."""

_HAS_EXPRESSION = {
    ColumnKind.DERIVED,
    ColumnKind.AGGREGATE,
    ColumnKind.WINDOW,
    ColumnKind.CAST,
}
_NEVER_REPEATS = re.compile(
    r"uuid|row_number\(\) over \((?!partition)|count\(distinct", re.IGNORECASE
)
"""Values that differ by themselves; a count of distinct values is of unique ones."""
_ABOUT_KEYS = stems(["unique", "duplicate", "duplicates", "primary"])
"""In the name of a column that tells whether something else is unique."""
_SAID_TO_BE_UNIQUE = re.compile(r"\bunique|primary key", re.IGNORECASE)
# `YYYY-MM-DD` and `HH24` stand for any day and hour, not for a name.
_DATE_FORMAT = re.compile(r"(?:[YMDHSITZ]{1,14}|[ymdhs]{2,14})(?:12|24)?\Z")


class _Check:
    """All about one text that does not need the other texts."""

    def __init__(self, index: _EvidenceIndex, name: str, text: str) -> None:
        self._index = index
        self._is_table = not name
        self._name = unquoted(name) or index.node.name
        self._tests = index.columns.get(name, _NO_COLUMN).tests
        self._lineage = index.lineage(name) if name else None
        self._text = without_links(text)
        self._prose = prose_of(self._text)
        self._english = is_english(text)
        self._name_stems = stems(pieces(self._name))

    def complaints(self) -> Iterator[tuple[ComplaintKind, str]]:
        """Yield kind and message of each complaint."""
        messages = {
            ComplaintKind.RESTATES_NAME: self._restates_name(),
            ComplaintKind.UNIQUENESS: self._claims_uniqueness(),
            ComplaintKind.NOT_IN_EVIDENCE: self._names_unknown(),
            ComplaintKind.BUILD_VALUE: self._quotes_build_value(),
            ComplaintKind.TOO_LONG: self._is_too_long(),
            ComplaintKind.WORDING: self._is_badly_worded(),
        }
        return ((kind, message) for kind, message in messages.items() if message)

    def _restates_name(self) -> str | None:
        new_stems = stems(pieces(self._text)) - _EMPTY_STEMS - self._name_stems
        if self._is_table:
            new_stems -= _LAYERS
            # What one row is says more than the name, be it in the name's words.
            if any(phrases.grains_in(self._text)):
                return None
        # Of `created_at`, "timestamp when it was created" says nothing.
        if self._name_stems & _TIME_STEMS:
            new_stems -= _TIME_STEMS
        advice = None if new_stems else self._what_evidence_adds()
        return advice and f"only repeats the name {_shown(self._name)}; {advice}"

    def _what_evidence_adds(self) -> str | None:
        """Return what a text could say besides the name, None if nothing."""
        facts, lineage = self._index.node.facts, self._lineage
        if self._is_table:
            shaped = facts.filters or facts.joins or facts.group_by or facts.row_number_partition
            if shaped or facts.set_operations or facts.distinct:
                return "say what one row is and which rows there are"
            return None
        expression = lineage.expression if lineage and lineage.kind in _HAS_EXPRESSION else None
        # A function's name says how, not what.
        if expression and self._adds(re.sub(r"\w+\(", "(", expression)):
            return f"say what it is made of: {_cut(expression)}"
        for text in self._index.leaf_texts(lineage):
            if self._adds(text):
                return f"the column it comes from says: {_cut(text)}"
        tests = [test for test in self._tests if test != "never null"]
        return f"its tests say: {_cut(', '.join(tests))}" if tests else None

    def _adds(self, text: str) -> bool:
        words = (word for word in TOKEN.findall(text) if word.lower() not in SQL_WORDS)
        text_stems = stems(p for word in words for p in pieces(word) if not p.isdigit())
        return bool(
            text_stems - self._name_stems - _EMPTY_STEMS - self._index.table_stems - {"id", "key"}
        )

    def _claims_uniqueness(self) -> str | None:
        if self._is_table or not self._english or self._name_stems & _ABOUT_KEYS:
            return None
        for words, thing in phrases.grains_in(self._text):
            if thing == self._identified and not self._is_unique(scoped=False):
                return f"claims one {_quoted(words)}, which no test or grouping shows"
        for claim in phrases.claims_in(self._prose):
            # "Unique number of the customer" stays true of a foreign key.
            if claim.of_a_thing and self._is_said_upstream():
                continue
            if not self._is_unique(scoped=claim.scoped):
                return f"claims {_quoted(claim.words)}, which no test, constraint or grouping shows"
        return None

    @property
    def _identified(self) -> set[str]:
        """The stems of what the column identifies: the order for ``order_id``."""
        return self._name_stems - phrases.KEY_STEMS

    def _is_unique(self, *, scoped: bool) -> bool:
        """Tell whether something says that no value repeats, or none within a scope."""
        if any(_SAID_TO_BE_UNIQUE.search(test) for test in self._tests):
            return True
        keys = [key for key in self._index.node.keys if folded(self._name) in key]
        if any(scoped or len(key) == 1 for key in keys):
            return True
        return self._is_grain_in_words() or self._is_grain_in_sql(scoped)

    def _is_grain_in_words(self) -> bool:
        for _, thing in phrases.grains_in(self._index.node.description):
            if thing and (thing == self._identified or not self._identified):
                return True
        return False

    def _is_grain_in_sql(self, scoped: bool) -> bool:
        facts = self._index.node.facts
        lineage = self._lineage
        if lineage is None or not lineage.expression:
            return False
        if _NEVER_REPEATS.search(lineage.expression):
            return True
        for keys in map(facts.expressions_of, (facts.group_by, facts.row_number_partition)):
            if scoped and lineage.expression in keys:
                return True
            is_made_of_keys = all(_holds(lineage.expression, key) for key in keys)
            # `count(id)` is made of the key `id` and repeats all the same.
            if keys and is_made_of_keys and lineage.kind is not ColumnKind.AGGREGATE:
                return True
        if facts.distinct and len(facts.columns) == 1:
            return True
        # Unique in the one table whose rows come through is unique here.
        keeps_rows = not facts.joins and not facts.set_operations and len(facts.relations) == 1
        return keeps_rows and self._is_said_upstream()

    def _is_said_upstream(self) -> bool:
        texts = self._index.leaf_texts(self._lineage)
        return any(_SAID_TO_BE_UNIQUE.search(text) for text in texts)

    def _names_unknown(self) -> str | None:
        words = dict.fromkeys([*self._unknown_names(), *self._unknown_values()])
        expression = self._lineage.expression if self._lineage else None
        figures = self._index.figures.unknown_in(self._text, self._name, expression)
        numbers = dict.fromkeys(figures)
        unknown = [*map(_quoted, words), *map(_cut, numbers)]
        if not unknown:
            return None
        more = f" and {len(unknown) - _MAX_NAMED} more" if len(unknown) > _MAX_NAMED else ""
        return f"names {', '.join(unknown[:_MAX_NAMED])}{more}, which the evidence does not"

    def _unknown_names(self) -> Iterator[str]:
        for code in code_of(self._text):
            yield from self._unknown_in_code(code)
        for word in TOKEN.findall(without_code(self._text)):
            # In prose nothing but an underscore tells a name from a word.
            is_name = "_" in word.strip("_") and not word[0].isdigit()
            if is_name and not self._is_known_word(word):
                yield word

    def _unknown_in_code(self, code: str) -> Iterator[str]:
        tokens = list(TOKEN.finditer(code))
        for token in tokens:
            word = token[0]
            is_call = code[token.end() : token.end() + 1] == "("
            is_phrase = len(tokens) > 1 and "_" not in word
            is_known = self._is_known_word(word) or word.lower() in self._index.table_names
            if not (is_call or is_known or (is_phrase and self._is_in_phrases(word))):
                yield word

    def _unknown_values(self) -> Iterator[str]:
        # In other languages values are translated and quoted as well.
        for value in quotes_of(self._text) if self._english else ():
            # One known word in several is enough: people quote what they put in a word of theirs.
            words = [word for word in TOKEN.findall(value) if word.lower() not in FUNCTION_WORDS]
            are_known = (self._is_known_word(word) or self._is_in_phrases(word) for word in words)
            if words and not any(are_known):
                yield value

    def _is_known_word(self, word: str) -> bool:
        if word[0].isdigit() or word.lower() in SQL_WORDS or _DATE_FORMAT.match(word):
            return True
        return self._index.has_name(word)

    def _is_in_phrases(self, word: str) -> bool:
        return word.lower() in FUNCTION_WORDS or self._index.pieces.issuperset(pieces(word))

    def _quotes_build_value(self) -> str | None:
        value = build_value_in(self._text, self._index.node.build_values)
        if value is None:
            return None
        if value == MARKER:
            return f"quotes {_quoted(MARKER)}; leave out what the value is"
        return f"quotes {_quoted(value)}, which is a value of this build alone"

    def _is_too_long(self) -> str | None:
        words = word_count(self._text)
        return f"has {words} words; use at most {MAX_WORDS}" if words > MAX_WORDS else None

    def _is_badly_worded(self) -> str | None:
        if not self._english:
            return None
        opener = phrases.opener_of(self._prose)
        filler = _listed(phrases.filler_in(self._prose))
        hedges = _listed(phrases.hedges_in(self._prose))
        advice = (
            f"opens with {_quoted(opener)}; begin with the thing itself" if opener else "",
            f"says {filler}; leave out what it is good for" if filler else "",
            f"hedges with {hedges}; state only what is known" if hedges else "",
        )
        return "; ".join(filter(None, advice)) or None


def _holds(expression: str, key: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", expression) is not None


def _same_texts(index: _EvidenceIndex, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each column whose text another one made of other columns has before it."""
    first_column: dict[str, str] = {}
    # Texts that are there already come first: the new one is at fault.
    for column in index.node.columns:
        if column.description and column.name not in texts:
            first_column.setdefault(_letters(column.description), column.name)
    for name, text in texts.items():
        letters = _letters(text)
        if not name or not letters:
            continue
        other = first_column.setdefault(letters, name)
        if other != name and _have_other_leaves(index, name, other, letters):
            yield name, f"is that of {_shown(other)}, too, which is made of other columns"


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _have_other_leaves(index: _EvidenceIndex, name: str, other: str, letters: str) -> bool:
    lineage, other_lineage = index.lineage(name), index.lineage(other)
    if lineage is None or other_lineage is None or _leaves(lineage) == _leaves(other_lineage):
        return False
    # Columns that are said to mean the same upstream mean the same here.
    texts = [map(_letters, index.leaf_texts(each)) for each in (lineage, other_lineage)]
    return not all(letters in of_leaves for of_leaves in texts)


def _leaves(lineage: ColumnLineage) -> set[tuple[str, str]]:
    return {(leaf.relation.lower(), leaf.column.lower()) for leaf in lineage.leaves}


def _cut(text: str) -> str:
    line = "".join(filter(str.isprintable, " ".join(text.split())))
    return line if len(line) <= _MAX_NAMED_CHARS else f"{line[: _MAX_NAMED_CHARS - 1].rstrip()}…"


def _shown(name: str) -> str:
    return f"`{_cut(name)}`"


def _quoted(words: str) -> str:
    return f'"{_cut(words)}"'


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(_quoted, list(dict.fromkeys(words))[:_MAX_NAMED]))
