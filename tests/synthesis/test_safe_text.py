from __future__ import annotations

import io
import re

import jinja2
import pytest
import ruamel.yaml
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dbt_osmosis_llm.synthesis.safe_text import clean_text
from tests.adversary import EMPTY, HOSTILE_TEXTS, REFUSED
from tests.limits import cpu_limit
from tests.properties import examples

_PERSIAN = "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        # Jinja
        ("{{ ref('x') }} {% if %} {# c #}", "{ { ref('x') }} { % if %} { # c #}"),
        ("{{{x", "{ { {x"),
        ("{\u200b{ x }}", "{ { x }}"),
        ('JSON {"a": {"b": 1}}', 'JSON {"a": {"b": 1}}'),
        ("Total {", "Total"),
        ("Opened by `{`", "Opened by `{`"),
        # characters
        ("a\n\n b\tc\x00\x1b[0m", "a b c [0m"),
        ("or\u00adder\u202e to\ufefftal", "order total"),
        ("\ud83d\ude00 x\ud800y", "\U0001f600 xy"),
        (_PERSIAN, _PERSIAN),
        ("x\u200cy \u2764\ufe0f\u200d\U0001f525", "xy \u2764\ufe0f\u200d\U0001f525"),
        # HTML
        ("a < b, a <= 5, a <> 0 and 3<4", "a < b, a <= 5, a <> 0 and 3<4"),
        ("a<b and b>c", "a< b and b>c"),
        ("<b>Net</b> and <em>gross</em>", "Net and gross"),
        ("Euros<br/>or dollars", "Euros or dollars"),
        ("`ARRAY<STRING>` as <null>", "`ARRAY< STRING>` as < null>"),
        ("<script>x()</script>", "< script>x()< /script>"),
        ("Shown as `<br>`.", "Shown as `< br>`."),
        ("R&amp;D &lt;b&gt;", "R&amp;D &lt;b&gt;"),
        # Markdown
        ("# Order", "Order"),
        ("#1 of the orders", "#1 of the orders"),
        ("> > - Order", "Order"),
        ("> 0 when paid", "`>` 0 when paid"),
        (">= 5 items", "`>=` 5 items"),
        ("-1 when unknown", "-1 when unknown"),
        ("1. Bestellung des Kunden", "1. Bestellung des Kunden"),
        ("```sql\nselect 1\n```", "`sql select 1 `"),
        ("~~~ Order", "Order"),
        ("1. ~~~ Order", "1. ~ Order"),
        ("[the docs](https://x.example/a)", "the docs (https://x.example/a)"),
        ("[https://x.example](https://x.example)", "https://x.example"),
        ("[x](javascript:y) ![z](z.png)", "x z"),
        ("See <https://x.example/a>.", "See https://x.example/a."),
        ("[a `[` b](x)", "[a `[` b] (x)"),
        ("[total]: x", "[total] : x"),
        ("One of [a, b]: x", "One of [a, b]: x"),
        # none
        ("Unknown.", None),
        ("null", None),
        ("`N/A`", None),
        ("(none)", None),
        ("None of the orders", "None of the orders"),
        ("---", None),
        ("  ", None),
        (None, None),
        (5, None),
    ],
)
def test_each_text_is_harmless_and_reads_well(text: object, clean: object) -> None:
    assert clean_text(text) == clean


def assert_is_harmless(text: str) -> None:
    assert not any(opener in text for opener in ("{{", "{%", "{#"))
    assert not text.endswith("{")
    assert not re.search("<[A-Za-z/!?]", text)
    assert text == " ".join(text.split())
    assert text.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2028\u2029\ufeff]", text)
    assert jinja2.Environment().from_string(text).render() == text
    # Its end makes no delimiter of what is written after it.
    assert (
        jinja2.Environment().from_string(f"{text}{{% if 1 %}}x{{% endif %}}").render() == f"{text}x"
    )
    assert yaml.safe_load(yaml.safe_dump({"d": text})) == {"d": text}
    assert yaml.safe_load(yaml.safe_dump({"d": text}, allow_unicode=True)) == {"d": text}
    stream = io.StringIO()
    writer = ruamel.yaml.YAML()
    writer.dump({"d": text}, stream)
    assert writer.load(stream.getvalue()) == {"d": text}


PARTS = [
    *("{", "}", "%", "#", "{{", "{%", "<", ">", "/", "!", "<b>", "</b>", "<br>", "<p>", "`", "```"),
    *(
        "[",
        "]",
        "(",
        ")",
        "](",
        "[x](",
        "http://x.y",
        "]:",
        "- ",
        "* ",
        "+ ",
        "# ",
        "> ",
        ">=",
        "|",
    ),
    *(
        "---",
        "~~~",
        "...",
        "\\",
        "\u200b",
        "\u200c",
        "\u200d",
        "\ud800",
        "\udc00",
        "\0",
        "\n",
        "\r",
    ),
    *("a", "Z", "5", " ", ".", ":", '"', "'", "&", "&lt;", "\u0646", "\u2764", "\ufeff", "null"),
]


@examples(400)
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("".join))
@example("`<b>`")
@example("[# a]: b")
@example("``<b>x</b>`<script>")
@example("{\u200c\u200d\u200c{")
def test_no_puzzle_of_signs_survives(text: str) -> None:
    clean = clean_text(text)
    if clean is not None:
        assert_is_harmless(clean)
    assert clean_text(clean) == clean


@examples(100)
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_no_character_survives_that_a_file_cannot_hold(text: str) -> None:
    clean = clean_text(text)
    if clean is not None:
        assert_is_harmless(clean)
    assert clean_text(clean) == clean


@examples(100)
@given(st.text("abc xyz,.;:'()-0123456789éßñ€", max_size=60))
def test_plain_words_stay_as_they_are(text: str) -> None:
    text = f"Order {' '.join(text.split())}".strip()
    assert clean_text(text) == text


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_hostile_texts_are_harmless_or_none(name: str) -> None:
    with cpu_limit(1):
        clean = clean_text(HOSTILE_TEXTS[name])
    assert (clean is None) == (name in EMPTY)
    if clean is not None:
        if len(clean) < 10_000:
            assert_is_harmless(clean)
        assert clean_text(clean) == clean


def test_the_list_of_hostile_texts_names_its_own() -> None:
    assert set(HOSTILE_TEXTS) > EMPTY | REFUSED
    assert not EMPTY & REFUSED


def test_what_stands_around_a_tag_does_not_bring_it_back() -> None:
    for name in ("html between back-ticks", "html inside a tag", "html around a zero-width space"):
        assert "<script" not in (clean_text(HOSTILE_TEXTS[name]) or "").lower()
