from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from dbt_osmosis_llm.llm.exceptions import LLMRefusalError, LLMResponseError, LLMTruncatedError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMResponse
from dbt_osmosis_llm.llm.parsing import parse_answer
from tests.limits import cpu_limit
from tests.properties import examples

AB = {"a": "b"}


class Documentation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    description: str | None
    columns: dict[str, str | None] = {}


def parse(text: str, finish_reason: FinishReason = FinishReason.STOP) -> dict[str, Any]:
    return parse_answer(LLMResponse(text, finish_reason))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "b"}',
        ' \n{"a": "b"}\n',
        '\ufeff{"a": "b"}',
        '```json\n{"a": "b"}\n```',
        'Here you are:\n```\n{"a": "b"}\n```\nAnything else?',
        '```json\n{"a": "b"}',
        '~~~json\n{"a": "b"\n~~~\nMissing a brace.',
        'Sure! {"a": "b"} Done.',
        'Uses {{ ref("x") }}, {% if y %}, {# z #} and {x}: {"a": "b"} {y}',
        '{"a": "b",}',
        '{,"a": "b",,}',
        '{"a": 1 "a": "b"}',
        "{'a': 'b'}",
        "{a: 'b'}",
        "{\u201ca\u201d: \u201cb\u201d}",
        "{\u2018a\u2019: \u201eb\u201c}",
        '{"a": "b" // of course\n}',
        '{ # c: "d",\n"a": /* {"e": "f"} */ "b"}',
        '{"a": "b", /* for ever',
        '{"a": "b", ...}',
        '{"a": "b"',
        '{"a": "c", "a": "b"}',
        '<think>{"a": "no"} or {"b": "c", "d": "e"}?</think>\n{"a": "b"}',
        '<think>1</think><think>{"a": "no, far too long"}</think>{"a": "b"}',
        'The prompt opened it: {"a": "no, something longer"}</think>{"a": "b"}',
        '<reasoning>Never closed. {"a": "b"}',
        '[{"a": "b"}]',
        '[{"a": "b"',
        '```\n[{"a": "b"},]\n```',
        r'"{\"a\": \"b\"}"',
        r"{\"a\": \"b\"}",
        r'"{\"a\": \"b\", \"c\": \"d',
        r"```json\n{\"a\": \"b\"}\n```",
        '{\x00"a":\u00a0"b"\u200b}',
    ],
)
def test_the_object_is_found(text: str) -> None:
    assert parse(text) == AB


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"the \"best\""', 'the "best"'),
        ('"the customer\'s"', "the customer's"),
        ("'the customer''s'", "the customer's"),
        ("'the customers'''", "the customers'"),
        (
            "'the customer's name, the customers' orders'",
            "the customer's name, the customers' orders",
        ),
        (r"'the customer\'s'", "the customer's"),
        ('"the "best" one"', 'the "best" one'),
        ("\u2018the customer\u2019s\u2019", "the customer\u2019s"),
        ("''", ""),
        ('"one\ntwo\tthree\x01"', "one\ntwo\tthree\x01"),
        ('"// no comment /* at all */ # here"', "// no comment /* at all */ # here"),
        ('"```"', "```"),
        (r'"a\_b \d \x41 \u00e9 \ud83d\ude00 \/ \\n"', "a_b \\d A \u00e9 \U0001f600 / \\n"),
        (r'"\ud800"', "\ufffd"),
        ("None", None),
        ("True", True),
        ("FALSE", False),
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        ("1" * 5000, None),
        ("-12", -12),
        ("1.5e+3", 1500.0),
        ("[1, 'x', [], {}, ]", [1, "x", [], {}]),
    ],
)
def test_values_are_read_as_models_write_them(written: str, value: Any) -> None:
    expected = {"a": value, "b": "c"}
    assert parse(f"{{'a': {written}, 'b': 'c'}}") == expected
    assert parse(f'{{"b": "c", "a": {written}}}') == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"description": "a", "columns": {"x": "b", "y": "c',
            {"description": "a", "columns": {"x": "b"}},
        ),
        ('{"description": "a", "columns": {"x": "b', {"description": "a"}),
        ('{"description": "a", "columns": {"x": "b"', {"description": "a", "columns": {"x": "b"}}),
        ('```json\n{"a": 1, "b": "c\n```', {"a": 1}),
        ('{"a": 12, "b": 34', {"a": 12}),
        ('{"a": 12, "b": 34\n', {"a": 12, "b": 34}),
        ('{"a": null, "b": tru', {"a": None}),
        ('{"a": null', {"a": None}),
        ('{"a": "b", "c', {"a": "b"}),
        ('{"a": "b", "c":', {"a": "b"}),
        ('{"a": "b", "c": "d\\', {"a": "b"}),
        ('{"a": {}, "b": {', {"a": {}}),
        ("{'a': 'b', 'c': 'the customer'", {"a": "b"}),
        ("{'a': 'the customer's', 'b': 'c', 'd", {"a": "the customer's", "b": "c"}),
        ('{"a": "the "best" one", "b": "the "', {"a": 'the "best" one'}),
        # Half an element would look like one whose other properties were left out on purpose.
        (
            '{"columns": [{"name": "x", "description": "b"}, {"name": "y", "descr',
            {"columns": [{"name": "x", "description": "b"}]},
        ),
        ('[{"a": "b", "c": "d', AB),
        (
            'Like {"a": "z"}: {"description": "longer", "columns": {"x": "b',
            {"description": "longer"},
        ),
    ],
)
def test_a_cut_answer_keeps_what_is_whole(text: str, expected: dict[str, Any]) -> None:
    assert parse(text) == expected
    assert parse(text, FinishReason.LENGTH) == expected


@pytest.mark.parametrize(
    "text", ["", "{", '{"a', '{"a": "b', '{"a": 1', '{"a": {"b": "c', "<think>{'a': 'b'}", "Well,"]
)
def test_a_cut_answer_without_anything_whole_names_the_setting(text: str) -> None:
    with pytest.raises(LLMTruncatedError, match="raise OSMOSIS_LLM_MAX_OUTPUT_TOKENS"):
        parse(text, FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'As in {"a": 1}, {"a": 2}: {"description": "long enough"}',
            {"description": "long enough"},
        ),
        ('{"description": "long enough"}, but not {"a": 1}', {"description": "long enough"}),
        ('{"description": "a draft"} or rather {"description": "done"}', {"description": "done"}),
        (
            '{"description": "Payload, say {\\"a\\": 1}."}',
            {"description": 'Payload, say {"a": 1}.'},
        ),
        ("{} and {'a': 'b'}", AB),
        ("{ref and {'a': 'b'}", AB),
        ("{'a': 'no </think> {it is}'}", {"a": "no </think> {it is}"}),
        ("{}", {}),
        ("[1] says [so](url): {'a': 'b'}", AB),
    ],
)
def test_the_answer_is_told_from_other_objects(text: str, expected: dict[str, Any]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("response", "error", "says"),
    [
        (LLMResponse(""), LLMResponseError, "^the answer is empty$"),
        (LLMResponse(" \n"), LLMResponseError, "^the answer is empty$"),
        (LLMResponse("<think>Hm.</think>"), LLMResponseError, "^the answer is empty$"),
        (LLMResponse("No.", FinishReason.REFUSAL), LLMRefusalError, "^the model refused: 'No.'$"),
        (LLMResponse("", FinishReason.REFUSAL), LLMRefusalError, "^the model refused$"),
        (LLMResponse("{}", FinishReason.FILTERED), LLMRefusalError, "content filter withheld"),
        (
            LLMResponse('<!DOCTYPE html><script>{"a": "b"}</script>'),
            LLMResponseError,
            "^the server answered with a web page instead of JSON; check .* base URL: '<!DOCTYPE",
        ),
    ],
)
def test_what_is_no_answer_says_why(
    response: LLMResponse, error: type[LLMResponseError], says: str
) -> None:
    with pytest.raises(error, match=says):
        parse_answer(response)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("I cannot know.", ": 'I cannot know.'"),
        ("Use {} and {}", ": 'Use {} and {}'"),
        ('[{"a": "b"}, {"a": "c"}]', " but a list: "),
        ('[{"a": "b"}, {"a": "c', " but a list: "),
        ("[1, 2]", " but a list: '[1, 2]'"),
        ("12", " but a number: '12'"),
        ('"text"', " but a string: "),
        ("null", ": 'null'"),
        ('{"a": "b', ": it ends before its first property is whole: "),
        # What is malformed before its end is not guessed at, and none of its parts is the answer.
        ('{"a": the best, "c": {"x": "y"}}', ": expected a value, found 'the best, "),
        ('{"a": ..., "c": {"x": "y"}}', ': expected a value, found \', "c": '),
        ('{"a": "b", c d, "e": "f"}', ": expected a colon after a key, found 'd, "),
        ('{"a": "b", "c"}', ": expected a colon after a key, found '}'"),
        ('{"a": "b", (c)}', ": expected a key in double quotes, found '"),
        ('{"a": "b" c: "d"}', ": expected a comma or a closing bracket, found 'c: "),
        ('{"a": "b"c": "d"}', ": expected a comma or a closing bracket, found 'c\": "),
        ('{"a": "one of "b", "c""}', ": expected a comma or a closing bracket, found 'b\", "),
        ('{"a": {"b": ["c" "d"]}}', ": expected a comma or a closing bracket, found '"),
        ('{"a": 12 apples}', ": expected a comma or a closing bracket, found 'apples}'"),
        ('{"a": 1.2.3}', ": expected a value, found '1.2.3}'"),
        ('{"a": b}', ": expected a value, found 'b}'"),
        ('{"a":' * 100_000, ": expected no more than 100 levels, found '"),
    ],
)
def test_what_is_no_object_says_what_it_is(text: str, says: str) -> None:
    with pytest.raises(LLMResponseError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"the answer is not a JSON object{says}")


@pytest.mark.parametrize("finish_reason", [FinishReason.STOP, FinishReason.REFUSAL])
def test_an_excerpt_is_short_and_on_one_line(finish_reason: FinishReason) -> None:
    with pytest.raises(LLMResponseError, match=r"\u2026'$") as caught:
        parse("word\n\n " * 100_000, finish_reason)
    assert len(str(caught.value)) < 180
    assert "\\n" not in str(caught.value)


def test_a_type_validates() -> None:
    response = LLMResponse('{"description": "d", "columns": {"x": null}}')
    assert parse_answer(response, Documentation) == Documentation(
        description="d", columns={"x": None}
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"description": "d"} answers {"question": "much longer than the answer to it"}',
        '{"question": "much longer than the answer to it"}: {"description": "d"}',
        '{"question": "what?"} {"description": "d"} {"comment": "There."}',
        '[{"description": "d"}]',
    ],
)
def test_a_type_tells_the_answer_from_other_objects(text: str) -> None:
    assert parse_answer(LLMResponse(text), Documentation).description == "d"


def test_what_does_not_fit_a_type_is_named_in_one_line() -> None:
    columns = {"a": 1, "b\n": [], "c": {}, "d": 2.5, "k" * 5000: 1}
    response = LLMResponse(json.dumps({"description": "secret " * 50, "columns": columns}))
    with pytest.raises(LLMResponseError) as caught:
        parse_answer(response, Documentation)
    text = "Input should be a valid string"
    assert str(caught.value) == (
        f"the answer does not fit: columns.a: {text}; columns.b: {text}; columns.c: {text}; "
        "and 2 more"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_long_name_that_does_not_fit_is_cut() -> None:
    text = json.dumps({"description": "d", "columns": {"k" * 5000: 1}})
    with pytest.raises(LLMResponseError, match=r"columns\.kkk.*\u2026: Input should") as caught:
        parse_answer(LLMResponse(text), Documentation)
    assert len(str(caught.value)) < 250


def test_a_cut_answer_that_does_not_fit_was_cut() -> None:
    response = LLMResponse('{"columns": {"x": "y"}, "description": "z', FinishReason.LENGTH)
    with pytest.raises(LLMTruncatedError):
        parse_answer(response, Documentation)


# Megabytes that cost quadratic time, or Python's recursion, where a reader starts over.
HUGE = {
    "braces": "{" * 1_000_000,
    "brackets": "[{" * 500_000,
    "nested": '{"a":' * 200_000,
    "nested lists": '{"a":' + "[" * 1_000_000,
    "prose": "one {ref} 'and \"x " * 60_000,
    "empty objects": "{} " * 300_000,
    "objects": '{"a": 1} ' * 100_000,
    "broken objects": '{"a": b} ' * 100_000,
    "unclosed comments": "{/*" * 300_000,
    "comments": "{//" * 300_000 + "\nx y",
    "bare quotes": '{"a": "b" c' + ' "d" e' * 160_000 + '"}',
    "doubled quotes": "{'a': 'b' c" + "''" * 500_000,
    "other quotes": '{"a": "b" c' + "\", '" * 250_000,
    "escapes": '{"a": "' + "\\\\" * 500_000 + '"}',
    "escaped quotes": '{\\"a\\": ' * 100_000,
    "blanks": '{"a": "b" c"' + " " * 1_000_000,
    "commas": "{" + "," * 1_000_000,
    "digits": '{"a": ' + "1" * 1_000_000 + "}",
    "number": "1" * 1_000_000,
    "reasoning": "<think></think>" * 70_000,
    "valid": json.dumps({f"k{i}": [i, None, {"a": 'so "quoted"'}] for i in range(20_000)}),
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE.keys())
def test_huge_answers_take_linear_time(text: str) -> None:
    with cpu_limit(2), suppress(LLMResponseError):
        parse(text)


ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text(
    st.sampled_from("{}[]\"'\\,:`~ \n\0ab1-.#/*<>nul\u201c\u2019\ud800\ufeff")
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.text("{}[]\"'\\,:`/# \n\u201d", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
JSON_OBJECTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4)
SENTENCES = st.sampled_from(
    ["", "Here you are:\n", "It's {ref} of {{ ref('x') }}, see [1].\n", "```json\n", "~~~\n"]
)


def is_usable_or_says_why(text: str) -> None:
    for finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
        with suppress(LLMResponseError):
            assert isinstance(parse(text, finish_reason), dict)
    with suppress(LLMResponseError):
        assert isinstance(parse_answer(LLMResponse(text), Documentation), Documentation)


@examples(100)
@given(ANY_TEXT)
@example("{'\ud800': \"\\")
def test_any_text_is_read_or_refused(text: str) -> None:
    is_usable_or_says_why(text)


@examples(100)
@given(JSON_OBJECTS, st.data())
def test_damaged_json_is_read_or_refused(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 3)))
        text = text[:at] + data.draw(st.text("{}[]\"',:\\ab \n", max_size=2)) + text[until:]
    is_usable_or_says_why(text)


PLAIN_WORDS = st.text("ab {}',:", max_size=8)


@examples(100)
@given(
    st.dictionaries(PLAIN_WORDS, PLAIN_WORDS | st.dictionaries(PLAIN_WORDS, PLAIN_WORDS)),
    st.data(),
)
def test_no_text_is_invented(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 3)))
        text = text[:at] + data.draw(st.text("{}\"':, \n", max_size=2)) + text[until:]
    with suppress(LLMResponseError):
        for found in texts_of(parse(text)):
            assert (
                found in text
                or found in text.replace('""', '"')
                or found in text.replace("''", "'")
            )


def texts_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [text for part in value for text in texts_of(part)] if isinstance(value, list) else []


def written(value: Any, comma: str) -> str:
    """Return JSON with something before each closing bracket."""
    if isinstance(value, Mapping):
        parts = [f"{json.dumps(key)}: {written(part, comma)}" for key, part in value.items()]
        return "{" + ", ".join(parts) + (comma if parts else "") + "}"
    if isinstance(value, list):
        parts = [written(part, comma) for part in value]
        return "[" + ", ".join(parts) + (comma if parts else "") + "]"
    return json.dumps(value)


@examples(100)
@given(JSON_OBJECTS, SENTENCES)
def test_any_object_survives_how_it_is_written(value: dict[str, Any], before: str) -> None:
    for text in (
        json.dumps(value),
        json.dumps(value, ensure_ascii=False, indent=2),
        written(value, ","),
        written(value, " // and so on,\n ,"),
        repr(value),  # single quotes, None, True, False, Python's escapes
    ):
        # Braces in prose are told from an answer, not from one that is as empty.
        if value or not before.startswith("It's"):
            assert parse(f"{before}{text}") == value
            assert parse(f"{before}{text}\n```\nHope it's fine.") == value
        assert parse(f"[{text}]") == value
        assert parse(json.dumps(text)) == value
    assert value == json.loads(json.dumps(value))


TEXTS = st.text("{}[]\"'\\,:`/#\n ab\u201c\U0001f600", max_size=6)
ANSWERS = st.dictionaries(TEXTS, TEXTS | st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=3)


@examples(60)
@given(ANSWERS, st.sampled_from([json.dumps, repr]), SENTENCES)
@example({"a": 'the customer\'s "x"', "b": {"c": "d"}}, repr, "")
def test_wherever_it_is_cut_only_whole_texts_remain(
    answer: dict[str, Any], write: Any, before: str
) -> None:
    text = write(answer)
    kept: dict[str, Any] = {}
    for end in range(len(text) + 1):
        try:
            now = parse(before + text[:end], FinishReason.LENGTH)
        except LLMTruncatedError:
            now = {}
        assert is_part(kept, now)
        assert is_part(now, answer)
        kept = now
    assert kept == answer


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and is_part(part[key], whole[key]) for key in part)
    return bool(part == whole)
