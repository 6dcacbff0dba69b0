"""Whether the text of a column fits where that column stands unchanged in another table.

A column that another one is by lineage has its values, and not always its meaning: it may be whose
of two people, of fewer rows, of another type; and its text may speak of what is not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from dbt_osmosis_llm.evidence.facts import ColumnLineage, Passage
from dbt_osmosis_llm.evidence.names import folded, pieces, plain_name, same_name, word_set
from dbt_osmosis_llm.evidence.node import NodeEvidence, UpstreamTable

_MAX_SHORT_TYPE = 15
"""Characters of a type that cuts values off which a text speaks of."""

_WORD_OR_NUMBER = re.compile(r"\d+|\D+")
_MAX_SEARCHED = 600
"""Characters of a text: no more of it is sent as evidence either."""

_LAYERS = word_set("raw src source base stg staging int dim fct fact mart tmp")
_NO_ROLES = word_set(
    "agg aggregate aggregated all base cte data final grouped info joined left lookup main"
    " map mapping ranked ref right row rows src stat source sub summary tbl temp tmp total wide"
)
"""Names of joined tables that say nothing of what their rows are to the others."""
_PLACES_IN_ORDER = word_set(
    "current earliest final first initial last latest next original prev previous prior"
    " recent second"
)
_SAY_ONLY_YES_OR_NO = word_set("are can has is was")
_MIN_PART_CHARS = 3
"""Characters of a word that can stand for a longer one that it begins."""

_NAME_IN_TEXT = re.compile(r"`([^`\s]+)`")
_QUOTED_IN_TEXT = re.compile(r"`([^`]+)`|'([^']+)'|\"([^\"]+)\"")
_ELSEWHERE = re.compile(
    r"\b(?:down|up)stream\b|\bsource (?:table|column|model|field)s?\b|\braw (?:table|column)s?\b",
    re.IGNORECASE,
)
"""What depends on where a text stands; a source or its data is the same seen from anywhere."""
_OWN_KEY = re.compile(
    r"\bprimary key\b|\b(?:each|every|per) (?:row|record)\b|\bone (?:row|record) (?:per|for|in)\b"
    r"|\bidentif\w+ (?:a|the) (?:row|record)\b(?!['\u2019]s)"
    r"|(?:\A|[.;,(]\s*|\b(?:is|are|be) )unique(?=\s*(?:[.;,)]|\Z|per\b|in\b|within\b|across\b))",
    re.IGNORECASE,
)
"""What makes one row of each value; the unique id *of* something is that in any table."""
_OWN_TABLE = re.compile(r"\bthis (?:table|model|view|seed)\b", re.IGNORECASE)
_OWN_ROW = re.compile(r"\b(?:this|the) (?:row|record)\b(?!['\u2019]s)", re.IGNORECASE)
_TOTALS = re.compile(r"\b(?:rollup|cube|grouping sets)\b", re.IGNORECASE)
_UNIQUE = re.compile(r"\bprimary key\b|\bunique\b|\bidentif", re.IGNORECASE)
_NEVER_NULL = re.compile(
    r"\b(?:never|cannot|can't) (?:be |been |is )?(?:null|empty|missing)\b"
    r"|\bnot (?:be (?:null|empty|missing)|nullable)\b"
    r"|(?:\A|[.;,(]\s*)(?:not[ -]null|non-?null(?:able)?|mandatory)(?=\s*(?:[.;,)]|\Z))"
    r"|\balways (?:set|present|filled|populated|has|have|given)\b",
    re.IGNORECASE,
)
"""Not what is said of the rows where it is so: "where it is not null", "if not null"."""
_PICKS_VALUES = re.compile(r"(?<![<>!])=|(?<!NOT )\b(?:IN|I?LIKE)\b", re.IGNORECASE)
_LOOKS_AT_ROWS = re.compile(r"\b(?:SELECT|OVER)\b", re.IGNORECASE)

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
    "text": re.compile(r"\b(?:boolean|integer|epoch)\b", re.IGNORECASE),
}


ONLY_WHERE, OF_WHICH = "only rows where ", ", of which it is made"
"""How what says begins that a text speaks of rows that filters leave out, and how it ends where
another column is filtered."""
NOTE = "(the text of {}, which is asked for first)"
PLACEHOLDER = "A text of the length that most texts have, {}."
"""What stands for a text that is not there yet, where a run is only looked at; see `is_to_come`."""
_TO_COME = re.compile(
    "|".join(re.escape(text).replace(r"\{\}", ".*") for text in (NOTE, PLACEHOLDER))
)


def is_to_come(text: str) -> bool:
    """Tell whether a text only stands for one that a run will ask for."""
    return _TO_COME.fullmatch(text) is not None


def difference(node: NodeEvidence, name: str, lineage: ColumnLineage, text: str = "") -> str:
    """Return in what a plain column is not the one that it comes from, empty where it is in none.

    Args:
        node: The table.
        name: Of its column.
        lineage: Where that comes from.
        text: Of what it comes from, which may say already what its name adds.
    """
    # A text still to come says nothing yet.
    return next(_differences(node, name, lineage, "" if is_to_come(text) else text), "")


def changes_type(lineage: ColumnLineage) -> bool:
    """Tell whether a plain column is cast so that few texts fit it any more."""
    return next(_of_type(lineage.casts, ""), "") != ""


def _differences(node: NodeEvidence, name: str, lineage: ColumnLineage, text: str) -> Iterator[str]:
    for passage in lineage.passages:
        joined = passage.kind and not passage.kind.endswith(("semi", "anti"))
        if joined and (words := role_of(node, passage)):
            yield words
    if added := _added_words(node, name, lineage, text):
        yield f"its name adds {added!r}{_through(lineage.passages[:1])}"
    if picked := _picked_by_filters(node, name, lineage, text):
        yield picked
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
    return difference(node, name, lineage, text) or misfit_words(node, name, lineage, origin, text)


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
        _of_names(node, name, lineage, origin, text),
        _of_table(node, name, lineage, origin, text),
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
    is_one_of_two = passage.is_repeated and not _is_by_its_name(node, passage)
    if is_one_of_two or (passage.has_alias and adds_a_word(name, passage.relation)):
        alias = "" if folded(name) == folded(table) else f" as {name}"
        return f"of {table} joined{alias}{_on(passage)}"
    return ""


def joined_name(node: NodeEvidence, passage: Passage) -> str:
    """Return what people call a joined relation: by its role, if it has one, else the table."""
    table = node.table_name(passage.relation)
    return passage.name if role_of(node, passage) or not passage.has_alias else table


def _on(passage: Passage) -> str:
    return f" ({passage.condition})" if passage.condition else ""


def _through(passages: Sequence[Passage]) -> str:
    return "".join(f", joined {_on(passage).strip()}" for passage in passages)


def _is_by_its_name(node: NodeEvidence, passage: Passage) -> bool:
    """Tell whether a table goes by its own name, so that the other one of it has the role."""
    name, table = words_of(passage.name), words_of(passage.relation.rpartition(".")[2])
    is_real = passage.relation in node.facts.relations
    return is_real and not passage.has_alias and table[-len(name) :] == name


def adds_a_word(alias: str, relation: str) -> bool:
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
    return [_singular(w) for piece in pieces(name) for w in _WORD_OR_NUMBER.findall(piece)]


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    is_plural = word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if is_plural and len(word) > 3 else word


def _added_words(node: NodeEvidence, name: str, lineage: ColumnLineage, text: str) -> str:
    """Return what a name says more than that of its origin and of the tables on the way.

    Where nothing is joined on the way there is no other that it could be of, and all that a new
    name can say more is which one in an order.
    """
    leaf = lineage.leaves[0]
    own, old = words_of(name), words_of(leaf.column)
    if len(own) <= len(old) or own[-len(old) :] != old:
        return ""
    prefix = own[: -len(old)]
    tables = [node.name, node.table_name(leaf.relation), leaf.relation.rpartition(".")[2]]
    tables += [text for passage in lineage.passages for text in (passage.name, passage.relation)]
    known = {*_LAYERS, *_SAY_ONLY_YES_OR_NO, *(w for table in tables for w in words_of(table))}
    new = {word for word in prefix if not _is_part(word, known)}
    if not lineage.passages:
        new &= _PLACES_IN_ORDER
    return "" if new <= _said(new, text) else "_".join(prefix)


def _is_part(word: str, known: Collection[str]) -> bool:
    """Tell whether a word is one of some others, or the beginning of one."""
    return word in known or (
        len(word) >= _MIN_PART_CHARS and any(other.startswith(word) for other in known)
    )


def _said(words: Collection[str], text: str) -> set[str]:
    """Return those of some words that a text has, in whatever form."""
    there = words_of(text.lower())
    return {
        word
        for word in words
        if word in there or (len(word) > 3 and any(other.startswith(word) for other in there))
    }


def _picked_by_filters(node: NodeEvidence, name: str, lineage: ColumnLineage, text: str) -> str:
    """Return the filter that a column is named for: `value as color where field = 'color'`."""
    leaf = lineage.leaves[0]
    new = set(words_of(name)) - set(words_of(leaf.column))
    new -= _said(new, text)
    for restriction in node.facts.restrictions:
        if _picks_values(restriction.text) and any(
            other.relation == leaf.relation and other != leaf for other in restriction.leaves
        ):
            values = {word for value in restriction.values for word in words_of(value.lower())}
            if new & values:
                return f"only rows where {restriction.text}, which its name says"
    return ""


def _others_of(node: NodeEvidence, name: str, lineage: ColumnLineage) -> list[str]:
    """Return the other columns of a table that are the same column under new names, too.

    Beside the column under its old name a new one is no other than that.
    """
    leaf = lineage.leaves[0]
    if same_name(name, leaf.column):
        return []
    known = {*words_of(leaf.column), *words_of(leaf.relation.rpartition(".")[2])}
    if words_of(name) and set(words_of(name)) <= known:
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
    said = _words_in(text)
    quoted = [_words_in("".join(found)) for found in _QUOTED_IN_TEXT.findall(text)]
    for restriction in node.facts.restrictions:
        restricted = {
            folded(leaf.column)
            for leaf in restriction.leaves
            if node.upstream_table(leaf.relation) is origin
        }
        kin = {other for column in restricted for other in origin.kin.get(column, ())}
        values = [_words_in(value) for value in restriction.values if not value.isdecimal()]
        picks = bool(restriction.values) and _picks_values(restriction.text)
        if columns & (restricted | kin):
            names_value = any(value and value <= said for value in values)
        else:  # A word of the language may be a value of another column.
            names_value = picks and any(
                value and (value in quoted or _is_one_of_several(value, text)) for value in values
            )
        if names_value:
            yield f"{ONLY_WHERE}{restriction.text}"
        elif picks and columns & (kin - restricted):
            yield f"{ONLY_WHERE}{restriction.text}{OF_WHICH}"


def _is_one_of_several(value: Collection[str], text: str) -> bool:
    """Tell whether a text names a value beside others: "a question or incident"."""
    word = " ".join(map(re.escape, sorted(value)))
    pattern = rf"\bor (?:an? |the )?{word}\b|\b{word}(?:, \w+)* or\b"
    text = text[:_MAX_SEARCHED]  # the pattern may take the square of its length
    return len(value) == 1 and re.search(pattern, text, re.IGNORECASE) is not None


def _picks_values(condition: str) -> bool:
    """Tell whether a filter leaves some values of a column, and not some of its rows."""
    return bool(_PICKS_VALUES.search(condition)) and not _LOOKS_AT_ROWS.search(condition)


def _words_in(text: str) -> set[str]:
    return set(re.findall(r"\w+", folded(text)))


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


def _of_names(
    node: NodeEvidence, name: str, lineage: ColumnLineage, origin: UpstreamTable, text: str
) -> Iterator[str]:
    """Yield what a text names that was there and is not here.

    What was no column there either is a value, a variable or a table, and no less so here.
    """
    here = _columns_of(node)
    tables = {folded(t.name).rpartition(".")[2] for t in node.upstream} | {folded(node.name)}
    there = {plain_name(column) for column in origin.columns}
    is_new_name = not same_name(name, lineage.leaves[0].column)
    for quoted in _NAME_IN_TEXT.findall(text):
        mentioned = plain_name(quoted.rpartition(".")[2])
        if mentioned == plain_name(name) and is_new_name:
            yield f"it names `{quoted}` itself"
        elif mentioned in there and mentioned not in here and mentioned not in tables:
            yield f"it names `{mentioned}`, which is no column here"
        elif mentioned in there and mentioned in here and _is_another(node, mentioned, origin):
            yield f"it names `{mentioned}`, which is another column here"
    if found := _ELSEWHERE.search(text):
        yield f"it says {found[0]!r}"


def _row_of(node: NodeEvidence, name: str, origin: UpstreamTable, text: str) -> str:
    """Return what a text calls a row of its own table, where that is no word of this one."""
    row = words_of(origin.name)[-1:]
    known = {*words_of(node.name), *words_of(name)}
    if not row or row[0] in known or row[0] in _LAYERS:
        return ""
    return row[0] if re.search(rf"\b(?:the|this|each|an?) {row[0]}\b", text, re.IGNORECASE) else ""


def _is_another(node: NodeEvidence, column: str, origin: UpstreamTable) -> bool:
    """Tell whether a column has a name of the origin's and is certainly made of something else."""
    lineage = node.facts.known_column(column)
    return lineage is not None and not any(
        table is origin and same_name(name, column) for table, name in node.origins(lineage)
    )


def _of_table(
    node: NodeEvidence, name: str, lineage: ColumnLineage, origin: UpstreamTable, text: str
) -> Iterator[str]:
    """Yield what a text says of its own table that another one is not."""
    facts = node.facts
    joined = any(passage.kind for passage in lineage.passages)
    groups = facts.group_by or facts.row_number_partition or facts.distinct
    multiplies = bool(facts.joins) and not facts.keeps_rows
    changes_rows = multiplies or facts.set_operations or groups
    # What is said of a key is true again of one.
    is_key = any(len(key) == 1 and same_name(key[0], name) for key in node.keys)
    is_said = is_key and not joined and _UNIQUE.search(text)
    others = (joined or changes_rows) and not is_said
    if others and (found := _OWN_KEY.search(text)):
        yield f"it says {found[0]!r}, and these are other rows"
    if others and (found := _OWN_TABLE.search(text)):
        yield f"it says {found[0]!r}, and these are other rows"
    # What is joined to a table leaves its rows what they are.
    if (joined or groups) and (found := _OWN_ROW.search(text)):
        yield f"it says {found[0]!r}, and these are other rows"
    if (facts.group_by or facts.set_operations) and (row := _row_of(node, name, origin, text)):
        yield f"it speaks of one {row}, and these are other rows"
    # Through no join, not even one that keeps the rows of the other side, nothing becomes empty.
    if facts.has_outer_join and lineage.passages and (found := _NEVER_NULL.search(text)):
        yield f"it says {found[0]!r}, and an outer join may leave it empty"
    makes_totals = any(map(_TOTALS.search, facts.group_by))
    if makes_totals and (found := _NEVER_NULL.search(text)):
        yield f"it says {found[0]!r}, and rows with totals leave it empty"
