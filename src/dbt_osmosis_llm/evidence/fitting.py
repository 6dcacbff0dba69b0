"""Whether the text of a column fits where that column stands unchanged in another table.

A column that another one is by lineage has its values, and not always its meaning: it may be whose
of two people, of fewer rows, of another type; and its text may speak of what is not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from dbt_osmosis_llm.evidence.facts import ColumnLineage, Passage
from dbt_osmosis_llm.evidence.names import folded, plain_name, same_name
from dbt_osmosis_llm.evidence.node import NodeEvidence, UpstreamTable

_MAX_SHORT_TYPE = 15
"""Characters of a type that cuts values off which a text speaks of."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LAYERS = _set("raw src source base stg staging int dim fct fact mart tmp")
_NO_ROLES = _set(
    "agg aggregated all base cte data final grouped info joined left lookup main map"
    " mapping ranked ref right row rows src stat source sub summary tbl temp tmp total"
)
"""Names of joined tables that say nothing of what their rows are to the others."""
_PLACES_IN_ORDER = _set(
    "current earliest final first initial last latest next original prev previous prior"
    " recent second"
)
_KEYS = _set("code id key name no number pk sk uuid")
"""Columns whose new prefix is the name that a table gives its own rows."""

_NAME_IN_TEXT = re.compile(r"`([^`\s]+)`")
_ELSEWHERE = re.compile(
    r"\b(?:down|up)stream\b|\bsource (?:table|column|system|model|data|field|file|record)s?\b"
    r"|\b(?:in|from|of) the (?:raw )?source\b|\braw (?:table|column|data)\b",
    re.IGNORECASE,
)
_OWN_TABLE = re.compile(
    r"\bprimary key\b|\bunique(?:ly)?\b|\b(?:one|each|every|per) (?:row|record)\b"
    r"|\b(?:this|the) (?:table|model|view|seed|row|record)\b|\ba record\b",
    re.IGNORECASE,
)
_UNIQUE = re.compile(r"\bprimary key\b|\bunique(?:ly)?\b", re.IGNORECASE)
_NEVER_NULL = re.compile(
    r"\b(?:never|not|non)[ -]*(?:be |been |is )?(?:null|nullable|empty|missing)\b"
    r"|\balways (?:set|present|filled|populated|has|have|given)\b|\bmandatory\b",
    re.IGNORECASE,
)

_TYPES = {
    "date": r"date\Z|date32\Z",
    "boolean": r"bool",
    "timestamp": r"timestamp|datetime|time\b",
    "number": r"u?(?:tiny|small|big|huge)?int|number|numeric|decimal|float|double|real|money",
    "text": r"(?:n?var|n|bp)?char|text|string|str\b",
}
_NUMBER_IN_TYPE = re.compile(r"\((\d+)\)")
_AS_TEXT = r"\b(?:as|a|of) (?:text|strings?|varchar)\b"
_SAYS_SO = {
    "date": re.compile(r"\b(?:date|day|birthday)s?\b", re.IGNORECASE),
    "boolean": re.compile(
        r"^(?:whether|if|true|yes|flag|indicates)\b|\b(?:flag|boolean|true|false)\b",
        re.IGNORECASE,
    ),
}
"""What a text has to say for the values to be of that kind already."""
_SAYS_OTHERWISE = {
    "date": re.compile(r"\btimestamp|\btime\b|\bUTC\b|\bhours?\b|\bseconds?\b", re.IGNORECASE),
    "boolean": re.compile(r"\bnumber of\b|\bcount\b|\bamount\b", re.IGNORECASE),
    "timestamp": re.compile(
        rf"\bepoch\b|\bunix\b|\b(?:milli|micro)?seconds\b|\bdays? since\b|{_AS_TEXT}", re.IGNORECASE
    ),
    "number": re.compile(
        r"^(?:names?|labels?|whether|flag)\b|\bformatted\b|\bletters?\b|\bleading zeros?\b"
        r"|\b(?:currency|percent) (?:sign|symbol)\b|\btimestamp\b|\btrue\b|\bfalse\b"
        rf"|\"[^\"]+\"|[$€£]\d|{_AS_TEXT}",
        re.IGNORECASE,
    ),
    "text": re.compile(r"\b(?:boolean|integer|numeric|epoch)\b", re.IGNORECASE),
}


NOTE = "(the text of {}, which is asked for first)"
PLACEHOLDER = "A text of the length that most texts have, {}."
"""What stands for a text that is not there yet, where a run is only looked at; see `is_to_come`."""
_TO_COME = re.compile(
    "|".join(re.escape(text).replace(r"\{\}", ".*") for text in (NOTE, PLACEHOLDER))
)


def is_to_come(text: str) -> bool:
    """Tell whether a text only stands for one that a run will ask for."""
    return _TO_COME.fullmatch(text) is not None


def difference(node: NodeEvidence, name: str, lineage: ColumnLineage) -> str:
    """Return in what a plain column is not the one that it comes from, empty where it is in none.

    Args:
        node: The table.
        name: Of its column.
        lineage: Where that comes from.
    """
    return next(_differences(node, name, lineage), "")


def changes_type(lineage: ColumnLineage) -> bool:
    """Tell whether a plain column is cast so that few texts fit it any more."""
    return next(_of_type(lineage.casts, ""), "") != ""


def _differences(node: NodeEvidence, name: str, lineage: ColumnLineage) -> Iterator[str]:
    for passage in lineage.passages:
        joined = passage.kind and not passage.kind.endswith(("semi", "anti"))
        if joined and (words := role_of(node, passage)):
            yield words
    if added := _added_words(node, name, lineage):
        yield f"its name adds {added!r}{_through(lineage.passages[:1])}"
    if others := _others_of(node, name, lineage):
        yield f"{', '.join(f'`{other}`' for other in others)} comes from the same column"
    if lineage.fixed:
        value = "empty" if lineage.fixed.upper() == "NULL" else lineage.fixed
        yield f"always {value}, by the filters"


def misfit(
    node: NodeEvidence, name: str, lineage: ColumnLineage, origin: UpstreamTable, text: str
) -> str:
    """Return why the text of a plain column's origin does not fit it, empty where it fits.

    Args:
        node: The table.
        name: Of its column.
        lineage: Where that comes from.
        origin: The table that has the text.
        text: Of the column that it is.
    """
    return difference(node, name, lineage) or misfit_words(node, name, lineage, origin, text)


def misfit_words(
    node: NodeEvidence, name: str, lineage: ColumnLineage, origin: UpstreamTable, text: str
) -> str:
    """Return what a text says that is not so of a plain column, whoever's that is.

    The arguments are those of `misfit`.
    """
    if is_to_come(text):
        return next(_of_type(lineage.casts, ""), "")
    reasons = chain(
        _of_rows(node, lineage, origin, text),
        _of_type(lineage.casts, text),
        _of_names(node, name, origin, text),
        _of_table(node, name, lineage, text),
    )
    return next(reasons, "")


def names_of_others(node: NodeEvidence, text: str) -> list[str]:
    """Return what a text names in backticks as a column that the table does not have."""
    here = _columns_of(node)
    names = [plain_name(quoted.rpartition(".")[2]) for quoted in _NAME_IN_TEXT.findall(text)]
    return [name for name in names if name.isidentifier() and name not in here]


def _columns_of(node: NodeEvidence) -> set[str]:
    return {plain_name(name) for name in (*(c.name for c in node.columns), *node.facts.columns)}


def role_of(node: NodeEvidence, passage: Passage) -> str:
    """Return as what a joined relation stands beside the others, empty where it is just itself."""
    name, table = passage.name, node.table_name(passage.relation)
    if passage.picks:
        return f"of one row of {table} for each, by {passage.picks}{_on(passage)}"
    if passage.is_repeated or (passage.has_alias and _adds_a_word(name, passage.relation)):
        return f"of {table} joined as {name}{_on(passage)}"
    return ""


def joined_name(node: NodeEvidence, passage: Passage) -> str:
    """Return what people call a joined relation: by its role, if it has one, else the table."""
    table = node.table_name(passage.relation)
    return passage.name if role_of(node, passage) or not passage.has_alias else table


def _on(passage: Passage) -> str:
    return f" ({passage.condition})" if passage.condition else ""


def _through(passages: Sequence[Passage]) -> str:
    return "".join(f", joined {_on(passage).strip()}" for passage in passages)


def _adds_a_word(alias: str, relation: str) -> bool:
    """Tell whether an alias says more than that it is this relation."""
    known = words_of(relation.rpartition(".")[2])
    return any(
        len(word) > 2 and word not in _NO_ROLES and not _abbreviates(word, known)
        for word in words_of(alias)
        if not word.isdecimal()
    )


def _abbreviates(word: str, known: Collection[str]) -> bool:
    """Tell whether a word is one of some others, or made of their letters in order."""
    letters = iter("".join(known))
    return word in known or (
        any(other[0] == word[0] for other in known) and all(letter in letters for letter in word)
    )


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case and in the singular."""
    return [_singular(word.lower()) for word in _WORD.findall(name)]


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _added_words(node: NodeEvidence, name: str, lineage: ColumnLineage) -> str:
    """Return what a name says more than that of its origin and of the tables on the way."""
    leaf = lineage.leaves[0]
    own, old = words_of(name), words_of(leaf.column)
    if len(own) <= len(old) or own[-len(old) :] != old:
        return ""
    prefix = own[: -len(old)]
    tables = [node.name, node.table_name(leaf.relation), leaf.relation.rpartition(".")[2]]
    tables += [text for passage in lineage.passages for text in (passage.name, passage.relation)]
    known = {*_LAYERS, *(word for table in tables for word in words_of(table))}
    new = [word for word in prefix if not _abbreviates(word, known & {word}) and word not in known]
    if not new:
        return ""
    if not lineage.passages and not _PLACES_IN_ORDER & set(new) and _names_rows(node, prefix):
        return ""
    return "_".join(prefix)


def _names_rows(node: NodeEvidence, prefix: list[str]) -> bool:
    """Tell whether a prefix is what a table calls its rows: its key has it, too."""
    return any(
        words_of(name)[: len(prefix)] == prefix
        and column.is_plain
        and not column.passages
        and words_of(column.leaves[0].column)[-1:] == words_of(name)[len(prefix) :]
        and words_of(name)[-1] in _KEYS
        for name, column in node.facts.columns.items()
        if column.leaves
    )


def _others_of(node: NodeEvidence, name: str, lineage: ColumnLineage) -> list[str]:
    """Return the other columns of a table that are the same column under new names, too.

    Beside the column under its old name a new one is no other than that.
    """
    leaf = lineage.leaves[0]
    if same_name(name, leaf.column):
        return []
    known = {*words_of(leaf.column), *words_of(leaf.relation.rpartition(".")[2])}
    if set(words_of(name)) <= known:
        return []
    return [
        other
        for other, column in node.facts.columns.items()
        if column.is_plain
        and column.leaves == lineage.leaves
        and column.passages == lineage.passages
        and not same_name(other, name)
        and not same_name(other, leaf.column)
    ]


def _of_rows(
    node: NodeEvidence, lineage: ColumnLineage, origin: UpstreamTable, text: str
) -> Iterator[str]:
    """Yield what a text says of rows that the filters leave out."""
    columns = {folded(leaf.column) for leaf in lineage.leaves}
    said = set(re.findall(r"\w+", folded(text)))
    for restriction in node.facts.restrictions:
        values = {folded(value) for value in restriction.values if not value.isdecimal()}
        if any(value and set(re.findall(r"\w+", value)) <= said for value in values):
            yield f"only rows where {restriction.text}"
            continue
        for leaf in restriction.leaves:
            table = node.upstream_table(leaf.relation)
            if table is origin and columns & set(origin.kin.get(folded(leaf.column), ())):
                yield f"only rows where {restriction.text}, of which it is made"


def _of_type(casts: Sequence[str], text: str) -> Iterator[str]:
    """Yield what a text says that is so no more when the values are of another type."""
    for cast in casts:
        kind = next((k for k, pattern in _TYPES.items() if re.match(pattern, cast.lower())), "")
        length = _NUMBER_IN_TYPE.search(cast)
        is_short = length is not None and int(length[1]) <= _MAX_SHORT_TYPE
        says_so, otherwise = _SAYS_SO.get(kind), _SAYS_OTHERWISE.get(kind)
        changes = (
            (kind == "text" and is_short)
            or (says_so is not None and not says_so.search(text))
            or (otherwise is not None and otherwise.search(text) is not None)
        )
        if changes:
            yield f"cast to {cast}"


def _of_names(node: NodeEvidence, name: str, origin: UpstreamTable, text: str) -> Iterator[str]:
    """Yield what a text names that is not there."""
    here = _columns_of(node)
    tables = {folded(t.name).rpartition(".")[2] for t in node.upstream} | {folded(node.name)}
    there = {plain_name(column) for column in origin.columns}
    words_of_sql: set[str] = set()
    for quoted in _NAME_IN_TEXT.findall(text):
        mentioned = plain_name(quoted.rpartition(".")[2])
        if mentioned == plain_name(name):
            yield f"it names `{quoted}` itself"
        elif mentioned in here or mentioned in tables:
            continue
        elif mentioned in there:
            yield f"it names `{mentioned}`, which is no column here"
        elif "_" in mentioned and re.fullmatch(r"\w+", mentioned):
            words_of_sql = words_of_sql or set(re.findall(r"\w+", folded(node.sql or "")))
            if mentioned not in words_of_sql:
                yield f"it names `{mentioned}`, which is not here"
    if found := _ELSEWHERE.search(text):
        yield f"it says {found[0]!r}"


def _of_table(node: NodeEvidence, name: str, lineage: ColumnLineage, text: str) -> Iterator[str]:
    """Yield what a text says of its own table that another one is not."""
    facts = node.facts
    if found := _OWN_TABLE.search(text):
        is_key = any(len(key) == 1 and same_name(key[0], name) for key in node.keys)
        joined = any(passage.kind for passage in lineage.passages)
        changes_rows = facts.joins or facts.set_operations or facts.group_by or facts.distinct
        if joined or (changes_rows and not (is_key and _UNIQUE.search(found[0]))):
            yield f"it says {found[0]!r}, and these are other rows"
    if facts.has_outer_join and (found := _NEVER_NULL.search(text)):
        yield f"it says {found[0]!r}, and an outer join may leave it empty"
