"""What English texts should not say: openers, filler and hedges, and keys that nobody has shown.

Each phrase is as narrow as the ones that people rate badly: "helps" is filler, a column of what
a plan allows is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dbt_osmosis_llm.evidence.names import pieces
from dbt_osmosis_llm.synthesis.checks.words import FUNCTION_WORDS, stems

_THING = "(?:column|field|table|model|view|dataset|attribute)"
_SAYS = (
    "(?:is|are|has|contains|represents|stores|holds|indicates|shows|provides|includes|gives|"
    "records|tracks|captures|lists|denotes|specifies|refers|describes|combines|aggregates|joins|"
    "serves|summari[sz]es|identifies|tells|returns|calculates)"
)
_OPENER = re.compile(
    rf"(?:the (?:\S+ ){{0,4}}?{_THING} {_SAYS}"
    rf"|this {_THING}"
    r"|(?:an? |the )(?:column|field|attribute) "
    r"(?:that|which|containing|representing|indicating|storing|holding|for|with)"
    rf"|{_THING} (?:that|which|containing|representing|indicating|storing|holding|providing))\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"\b(?:useful|essential|crucial|helpful|valuable) (?:for|to|in|when)\b"
    r"|\b(?:which|that|this|it|thus|thereby|,) ?(?:allows|allowing|enables)\b"
    r"|\b(?:allows|allowing|enables) (?:for|us|you|users|analysts|teams|business(?:es)?|"
    r"(?:\w{2,20} )?(?:tracking|analy[sz]ing|analysis|monitoring|identification|filtering|"
    r"comparing|comparison|reporting))\b"
    r"|\bhelps\b|\bhelping (?:to|us|you|users|analysts|teams|identify|understand|track)\b"
    r"|\b(?:provid(?:es?|ing)|giv(?:es?|ing)|offer(?:s|ing)?) (?:\w+ ){0,3}insights?\b"
    r"|(?<!\bof )(?<!\bfor )(?<!\bby )(?<!\bbefore )(?<!\bafter )\benabling\b"
    r"|\bfor (?:\w+ ){0,2}(?:analytical|analysis|analytics|reporting|tracking) purposes\b"
    r"|\bfor (?:(?:further|deeper|better|detailed|data|trend|business) ){1,2}"
    r"anal(?:ysis|yses|ytics)\b",
    re.IGNORECASE,
)
_USED = re.compile(r"\bused (?:to|for|in|when|by)\b", re.IGNORECASE)
_ANALYSIS = re.compile(
    r"\b(?:analys[ei]s|analytics|analytical|analy[sz]e|analy[sz]ing|insights?|decision|"
    r"dashboards?|business intelligence|understand\w*|assess|evaluate|reporting purposes)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.;!?](?= |\Z)")
_HEDGE = re.compile(
    r"\b(?:(?<!how )(?<!more )(?<!less )(?<!equally )(?<!as )likely(?! to\b| than\b)"
    r"|is likely to be|might|possibly|presumably|probably|perhaps"
    r"|(?:appears?|seems?) to (?:be|have|contain|represent|indicate|come|refer|store|hold|track|"
    r"count|include|identify|derive|reflect|describe|mark|correspond|relate|calculate))\b",
    re.IGNORECASE,
)
# Capital at the start of a sentence, as the month always is: the word behind it tells.
_MAY = re.compile(
    r"(?<!\w)(?:may(?= [a-z])|May(?= (?:be|have|not|also|include|contain|repeat|differ|vary)\b))"
)
_BEFORE_A_MONTH = re.compile(
    r"(?:\b(?:in|of|since|until|till|from|during|through|by|before|after|early|mid|late|last|"
    r"next|each|every|april,?|april and|april or)|[-/\u2013]) ?\Z",
    re.IGNORECASE,
)


def opener_of(prose: str) -> str | None:
    """Return the opener that a text begins with in place of the thing itself."""
    opener = _OPENER.match(prose)
    return opener[0] if opener else None


def filler_in(prose: str) -> Iterator[str]:
    """Yield what a text says of its use instead of its meaning."""
    yield from (filler[0].strip(", ") for filler in _FILLER.finditer(prose))
    for sentence in _SENTENCE_END.split(prose):
        # "Used for the price list" is a meaning, "used for cohort analysis" is none.
        used = _USED.search(sentence)
        purpose = _ANALYSIS.search(sentence, used.end()) if used else None
        if used and purpose:
            yield f"{used[0]} … {purpose[0]}"


def hedges_in(prose: str) -> Iterator[str]:
    """Yield the words that say a text is a guess."""
    yield from (found[0].lower() for found in _HEDGE.finditer(prose))
    for found in _MAY.finditer(prose):
        if not _BEFORE_A_MONTH.search(prose[max(0, found.start() - 12) : found.start()]):
            yield "may"


_NO_ADJECTIVE = "(?:of|by|with|per|in|for|to|from|and|or|on|at|as) "
_KEY = (
    "(?:identifier|id|key|number|code|reference|name|index|record|hash|value|token|uuid|guid|"
    "combination|handle|slug|email|address)"
)
_CLAIM = re.compile(
    rf"\bunique (?:(?!{_NO_ADJECTIVE})[a-z-]{{1,30}} ){{0,3}}?{_KEY}\b"
    r"|\b(?:is|are) (?:always |globally )?unique\b(?! to\b)"
    r"|\bunique (?:per|within|across|over|among)\b"
    r"|(?:, |\band |\A)(?:always )?unique(?=\s*(?:[.,;)]|\Z|and not null))"
    r"|\buniquely identif(?:ies|y|ying)\b|\bprimary[ -]key\b",
    re.IGNORECASE,
)
_IN_A_SCOPE = re.compile(
    r"[^.;]{0,40}?\b(?:per|within|for each|for every|in each|together with)\b", re.IGNORECASE
)
_NO_CLAIM_AFTER = re.compile(
    r"(?:\b(?:number|count|list|array|set|share|total|sum|percentage|distinct) of"
    r"(?: \w{1,30}){0,2}|\b(?:not|non|never|no|isn't|aren't|without a?|duplicated?)"
    r"(?: necessarily| always)?"
    r"|\b(?:count|counts|counting|how many)(?: the)?)[ -]\Z",
    re.IGNORECASE,
)
_OTHERS_KEY_AFTER = re.compile(
    r"\b(?:foreign[ -]key|referenc\w+|refers?|points?|links?|joins?|matches|matching|equals?)\b",
    re.IGNORECASE,
)
_OF_ANOTHER = re.compile(r"[^.;]{0,40}?\b(?:in|of|from) (?:the )?…", re.IGNORECASE)
_GRAIN = re.compile(
    r"\b(?:rows?|records?|lines?|entry|entries) "
    r"(?:per|for each|for every|is an?|represents an?|represents one) "
    r"((?:[^\W\d][\w-]{0,40} ?){1,4})",
    re.IGNORECASE,
)
KEY_STEMS = frozenset({"id", "key", "number", "code", "sk", "pk", "uuid"})
"""Words of a key's name that do not say what it is the key of."""


class Claim(NamedTuple):
    """A text says that no value of a column repeats."""

    words: str
    scoped: bool
    """Only within something: "unique per order"."""
    of_a_thing: bool
    """The thing is told apart by it, wherever it stands: "unique id of the order"."""


def claims_in(prose: str) -> Iterator[Claim]:
    """Yield what a text says of uniqueness; an "identifier" alone says nothing."""
    for claim in _CLAIM.finditer(prose):
        before = prose[max(0, claim.start() - 60) : claim.start()]
        after = prose[claim.end() : claim.end() + 60]
        is_primary = claim[0].lower().startswith("primary")
        is_others = _OTHERS_KEY_AFTER.search(before) or _OF_ANOTHER.match(after)
        # "Foreign key to the primary key of customers" claims nothing of its own column.
        if not (is_primary and is_others) and not _NO_CLAIM_AFTER.search(before):
            is_scoped = _IN_A_SCOPE.match(claim[0] + after) is not None
            of_a_thing = claim[0].lower().startswith("unique ") and not is_scoped
            yield Claim(claim[0].strip(", "), is_scoped, of_a_thing)


def grains_in(text: str) -> Iterator[tuple[str, set[str]]]:
    """Yield "row per order that …" and the stems of what it is a row of, without ``id`` and such.

    Of a row per this and that the stems have "and", so that they equal no column's.
    """
    for grain in _GRAIN.finditer(" ".join(text.replace("`", "").split())):
        words: list[str] = []
        for word in pieces(grain[1]):
            if word in FUNCTION_WORDS and word not in ("and", "or"):
                if words:
                    break
            else:
                words.append(word)
        yield grain[0].strip(), stems(words) - KEY_STEMS
