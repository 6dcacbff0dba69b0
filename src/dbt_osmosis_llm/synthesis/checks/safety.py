"""Generated texts that must not be written: what somebody put into the evidence for a model to say.

Text alone cannot tell an injected link from a useful one, so the evidence decides: what a model
adds by itself is refused, and so is what it was told to add. Hence comments in the SQL vouch for
nothing, and neither do texts that instruct a writer. String literals do: they are what the data
holds.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache

from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS
from dbt_osmosis_llm.evidence.names import pieces
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.synthesis.checks import strings_of

MAX_CHARS = 2_000
_MAX_QUOTED_CHARS = 60
_MIN_FOREIGN_LETTERS = 4
"""Fewer are signs: Greek letters in formulas."""


def refusals(
    evidence: NodeEvidence,
    texts: Mapping[str, str],
    *,
    shown: Iterable[str] = (),
    any_script: bool = False,
) -> dict[str, str]:
    """Return the texts of a node that must not be written, each with the reason.

    Args:
        evidence: What is known of the node.
        texts: Column name to text; the empty name stands for the table itself.
        shown: The user's own words in the prompts, which vouch for all that they say. Not whole
            requests: these hold the SQL's comments, too.
        any_script: Take texts in whatever script.

    Returns:
        The names of such texts, each with one line that goes on from "the text".
    """
    vouched = _Vouched(evidence, shown)
    reasons = {name: _reason(text, vouched, any_script=any_script) for name, text in texts.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(text: str, vouched: _Vouched, *, any_script: bool) -> str | None:
    # First, because the searches below take longer the longer a text is.
    if len(text) > MAX_CHARS:
        return f"has {len(text):,} characters; at most {MAX_CHARS:,} are written"
    script = None if any_script or text.isascii() else _foreign_script(text, vouched)
    if script:
        return f"is written in {script}, which neither the evidence nor the prompts are"
    # As it looks in the end: entities and letters of full width hide what stands there.
    text = html.unescape(text) if "&" in text else text
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    for address in _addresses_in(text) if _MAY_BE_ADDRESS.search(text) else ():
        if not vouched.has_address(address):
            return f"has the address {_quoted(address)}, which the evidence does not"
    for match in _COMMAND.finditer(text):
        command = match[0].rstrip(_AFTER)
        if not vouched.has_words(command):
            return f"has the command {_quoted(command)}, which the evidence does not"
    if words := _TO_A_MODEL.search(text):
        return f"repeats an instruction to a model, {_quoted(words[0])}"
    for words in _OF_A_MODEL.finditer(text):
        if not vouched.has_words(words[0]):
            return f"has words of a model, {_quoted(words[0])}, which the evidence does not"
    return None


def _quoted(words: str) -> str:
    line = " ".join(words.split())
    cut = line if len(line) <= _MAX_QUOTED_CHARS else f"{line[: _MAX_QUOTED_CHARS - 1]}…"
    return f'"{cut}"'


# Where a domain stands alone, only endings that hardly ever are columns or schemas.
_ENDINGS = (
    "com|net|org|io|dev|app|ai|co|edu|gov|biz|xyz|icu|onion|ru|cn|su|de|uk|fr|eu|(?-i:example)"
)
_MORE_ENDINGS = (
    "info|me|us|tv|cc|ws|ly|sh|gg|pw|to|tk|ml|ga|cf|gq|in|it|es|nl|ch|at|be|pl|se|no|fi|dk|cz|pt"
    "|ie|gr|tr|ua|ir|kp|jp|kr|tw|hk|sg|br|mx|ar|ca|au|nz|za|top|site|online|club|shop|store|cloud"
    "|tech|link|click|live|vip|work|zip|mov|page|web|space|fun|mobi|mil|int|invalid|test|local"
)
_MAY_BE_ADDRESS = re.compile(r"\w[.@:][\w/]")
"""Saves most texts the search for the real thing, which takes ten times as long."""
_REST = r"[^\s<>`\"'|\u2018\u2019\u201c\u201d]"
_NOT_INSIDE = r"(?<![\w@%+-])(?<!\w\.)"
_ADDRESS = re.compile(
    rf"(?<![\w.+%-])[\w.+%-]{{1,64}}@(?:[\w-]+\.)+[^\W\d_]{{2,}}"
    rf"|(?<![a-z0-9])[a-z][a-z0-9+.-]{{1,20}}://{_REST}+"
    rf"|\b(?:javascript|vbscript|mailto):{_REST}+|\bdata:[a-z]+/{_REST}+"
    rf"|{_NOT_INSIDE}www\.[\w-]+\.{_REST}+"
    rf"|{_NOT_INSIDE}(?:[\w-]+\.)+(?:{_ENDINGS}|{_MORE_ENDINGS})(?::\d+)?/{_REST}*"
    rf"|{_NOT_INSIDE}(?:[\w-]+\.)+(?:{_ENDINGS})(?![\w(-]|\.\w)"
    rf"|{_NOT_INSIDE}\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?::\d+|/\D){_REST}*",
    re.IGNORECASE,
)
_AFTER = ".,;:!?)]}*_~`'\"\u2026"
"""What ends the words around an address or a command."""
_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)+")
_SCHEME = re.compile(r"(?:mailto:|\w+://)?(?:www\.)?")


def _addresses_in(text: str) -> Iterator[str]:
    """Yield URLs, e-mail addresses and domains as they stand in a text."""
    for address in _ADDRESS.finditer(text):
        yield address[0].rstrip(f"{_AFTER}/")


_SHELLS = "(?:ba|z|k|da|fi)?sh"
_INSTALLERS = "pip3?|pipx|uv|npm|pnpm|yarn|npx|brew|apt|apt-get|yum|dnf|apk|gem|cargo|conda|choco"
_COMMAND = re.compile(
    r"(?<![\w.-])(?:"
    r"(?:curl|wget)(?:\.exe)? +(?:-{1,2}[a-z]|['\"]?(?:[a-z]+://|[\w-]+(?:\.[\w-]+)+/?))\S*"
    r"|rm +-[a-z]*[rf]\S*(?: +\S+)?"
    rf"|sudo +(?:-\w|{_INSTALLERS}|rm|ch\w+|systemctl|service|{_SHELLS}|su|docker|kill|tee|cat"
    r"|dd|python3?|curl|wget|reboot|shutdown)\b\S*(?: +\S+)?"
    rf"|(?:{_INSTALLERS})(?: +-\S+)* +(?:install|add)\b(?: +\S+)?|python3? +-[cm]\b(?: +\S+)?"
    rf"|{_SHELLS} +(?:-[a-z]*c\b|<\(|https?:)\S*|(?:perl|ruby|node|php) +-[er]\b"
    r"|(?:ssh|scp|sftp) +(?:-\w|[\w.-]+@)\S*|nc +-[a-z]+\b"
    r"|chmod +(?:-\w+ +)?(?:[0-7]{3,4}|[ugoa]*[+=-][rwxst]+)\b|chown +(?:-\w+ +)?\w+:\w*"
    r"|(?:powershell|pwsh)(?:\.exe)? +-\w+|cmd(?:\.exe)? +/[ck]\b"
    r"|iex +\((?:iwr|irm|curl|new-object)\b|invoke-(?:expression|webrequest|restmethod)\b"
    r"|git +clone +\S+|docker +run +\S+|kubectl +(?:apply|exec|delete)\b|kill +-9\b"
    r"|base64 +(?:-d|--decode)\b|dd +if=\S+|mkfs\.\w+|del +/[sfq]\b"
    r")"
    rf"|(?:[/:.-]\S*|\becho\b[^|]{{1,80}}) *\| *(?:sudo +)?{_SHELLS}(?![\w.-])"
    r"|\$\((?:curl|wget|cat|id|whoami|rm|bash|sh)\b|/bin/(?:ba|z|da)?sh\b|/etc/(?:passwd|shadow)\b",
    re.IGNORECASE,
)
"""What nobody writes of data: a program with an option or an operand that only programs take."""

_ANY = "(?:(?:all|any|the|of|every|each|these|those|this|existing|other|given) +)"
_EARLIER = (
    "(?:(?:your|my|previous|previously|prior|above|earlier|preceding|foregoing|former|initial"
    "|original|system|safety) +)"
)
_TO_A_MODEL = re.compile(
    rf"\b(?:ignore|disregard|forget|override|bypass) +(?:{_ANY}{{0,4}}{_EARLIER}{{1,4}}"
    r"(?:instructions?|prompts?|rules|guidelines|directions|directives|commands|text|messages?)"
    rf"|{_ANY}{{1,4}}(?:instructions|prompts?))\b"
    r"|\b(?:ignore|disregard|forget) +(?:everything|all|anything) +"
    r"(?:above|before|previously|prior|that came before)\b"
    r"|\bignor(?:iere?n?|ez|er|ar?|e) +(?:\w+ +){0,3}?"
    r"(?:anweisung|instruction|instruccion|instrucción|istruzion|instruç)\w*"
    r"|\b(?:new|updated|real|actual) +instructions? *:"
    r"|\byou are (?:now |an? )+(?:AI|assistant|chatbot|DAN|language model|helpful|ChatGPT)\b"
    r"|\b(?:reveal|print|repeat|output|show|leak) +(?:me +)?(?:your|the system) +"
    r"(?:\w+ +)?(?:prompt|instructions?|rules)\b"
    r"|\bdo not +(?:follow|obey) +(?:the|your|any|these|those) +(?:\w+ +)?"
    r"(?:instructions?|rules|prompt)\b"
    r"|<\|? ?(?:im_start|im_end|endoftext|system|assistant)\|?>|\[/?INST\]|< ?</?SYS>>",
    re.IGNORECASE,
)
_OF_A_MODEL = re.compile(
    r"\b(?:system|developer) prompt\b|\bas an? (?:large |AI |helpful )*language model\b"
    r"|(?:\A|[.!?:;\"\u201c] *)as an AI(?: \w+)?,"
    r"|\bI(?: am|['\u2019]m) (?:just |only |merely )*an? (?:AI|LLM|assistant|chatbot|"
    r"(?:large )?language model)\b"
    r"|(?:\A|[.!?] +)(?:(?:I am |I['\u2019]m )?sorry,? +(?:but +)?)?I(?: am|['\u2019]m)? "
    r"(?:cannot|can not|could not|(?:ca|could|wo)n['\u2019]t|unable to|not able to|sorry"
    r"|apologi[sz]e|(?:do not|don['\u2019]t) have|will not|must decline)\b",
    re.IGNORECASE,
)

_DEMAND = r"\b(?:please|kindly|must|should|shall|always|(?:sure|have|need|told|remember) to) +"
_TO_A_WRITER = re.compile(
    rf"(?:\A|[.!?;:,\n] *|\b(?:now|then|and|you) +|{_DEMAND}(?:also +|always +)?)[\"'(*-]*"
    r"(?:write|add|include|insert|append|prepend|mention|respond|say|repeat|paste|describe|refer)"
    r"\b(?!-)"
    # At the start of a text these are nouns.
    rf"|{_DEMAND}(?:also +|always +)?"
    r"(?:output|print|reply|answer|copy|document|contain|link|begin|start|end|carry|have)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|\{#.*?(?:#\}|\Z)|(?:--|#|(?<!:)//)[^\n]*", re.DOTALL)
"""In any dialect; inside of a literal, too, so that none hides in what looks like one."""


class _Vouched:
    """What the evidence and the user's own prompts vouch for; worked out when a text needs it."""

    def __init__(self, evidence: NodeEvidence, shown: Iterable[str]) -> None:
        self._evidence = evidence
        self._shown = tuple(shown)

    @cached_property
    def _text(self) -> str:
        node = self._evidence
        sql = (_COMMENT.sub(" ", part) for part in strings_of([node.sql or "", node.facts]))
        rest = strings_of(replace(node, sql=None, facts=EMPTY_FACTS))
        texts = (
            text for text in rest if not (_TO_A_WRITER.search(text) or _TO_A_MODEL.search(text))
        )
        # Zeros keep texts apart: the end of one and the next make no command together.
        return " ".join(" \0 ".join([*sql, *texts, *self._shown]).lower().split())

    @cached_property
    def _pieces(self) -> set[str]:
        return set(pieces(self._text))

    @cached_property
    def scripts(self) -> set[str]:
        """The names of all scripts that stand anywhere, comments included."""
        text = "".join([*strings_of(self._evidence), *self._shown])
        return {_script(letter) for letter in set(text) if not letter.isascii()}

    def has_words(self, words: str) -> bool:
        """Tell whether these words stand somewhere, be it as a name with underscores."""
        line = " ".join(words.lower().split())
        return line in self._text or line in self._text.replace("_", " ")

    def has_address(self, address: str) -> bool:
        """Tell whether an address stands somewhere, whole or as the beginning of a longer one."""
        name = _SCHEME.sub("", address.lower(), count=1)
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-]|\.\w)", self._text):
            return True
        if not _NAME.fullmatch(address):
            return False
        # A column (`orders.app`), or a company whose data this is (Salesforce.com, `raw_edxorg`).
        parts = pieces(name.rpartition(".")[0])
        return self._pieces.issuperset(parts) or name.replace(".", "") in self._pieces


_LATIN_OR_SIGN = {
    *("LATIN", "FULLWIDTH", "FEMININE", "MASCULINE", "SUPERSCRIPT", "SUBSCRIPT", "MODIFIER"),
    *("MICRO", "OHM", "KELVIN", "ANGSTROM", "MATHEMATICAL", "SCRIPT", "DOUBLE-STRUCK", "ROMAN"),
    *("BLACK-LETTER", "INFORMATION", "TURNED", "REVERSED", "PLANCK", "ALEF", "BET", "GIMEL"),
}
_EAST_ASIAN = {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH"}


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """Return the name of a letter's script, empty for Latin and for what is no letter."""
    if not letter.isalpha():
        return ""
    first = unicodedata.name(letter, "another script").partition(" ")[0]
    if first in _EAST_ASIAN:
        return "Han or kana"  # of one text in Japanese
    return "" if first in _LATIN_OR_SIGN else first.capitalize()


def _foreign_script(text: str, vouched: _Vouched) -> str | None:
    """Return the script that nothing vouches for of a good part of a text's letters."""
    letters = [_script(letter) for letter in text if letter.isalpha()]
    foreign = Counter(script for script in letters if script and script not in vouched.scripts)
    is_language = sum(foreign.values()) >= max(_MIN_FOREIGN_LETTERS, len(letters) / 4)
    return foreign.most_common(1)[0][0] if is_language else None
