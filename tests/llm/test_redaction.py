from __future__ import annotations

import json
import string
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_osmosis_llm.llm.redaction import mask_keys, redact_secrets
from tests.limits import cpu_limit
from tests.properties import examples

# No whole key stands in this file: scanners of repositories would take it for a real one.
BODY = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4"
HEX = "0123456789abcdef0123456789abcdef"
SECRET = "kT7/vQ+9z=pL"  # of no known shape, and with what URLs and JSON escape

_ALNUM = string.ascii_letters + string.digits
SHAPES: dict[str, tuple[str, str, int]] = {
    "OpenAI": ("sk-", _ALNUM, 48),
    "OpenAI project": ("sk-proj-", _ALNUM + "-_", 120),
    "OpenAI service account": ("sk-svcacct-", _ALNUM + "-_", 100),
    "Anthropic": ("sk-ant-api03-", _ALNUM + "-_", 95),
    "OpenRouter": ("sk-or-v1-", "0123456789abcdef", 64),
    "DeepSeek": ("sk-", "0123456789abcdef", 32),
    "Google": ("AIza", _ALNUM + "-_", 35),
    "Google, bound to a service account": ("AQ.", _ALNUM + "-_", 50),
    "Google OAuth": ("ya29.", _ALNUM + "-_", 100),
    "Groq": ("gsk_", _ALNUM, 52),
    "Hugging Face": ("hf_", _ALNUM, 34),
    "xAI": ("xai-", _ALNUM, 80),
    "Perplexity": ("pplx-", _ALNUM, 48),
    "NVIDIA": ("nvapi-", _ALNUM + "-_", 64),
    "Together": ("tgp_v1_", _ALNUM + "-_", 43),
    "Databricks": ("dapi", "0123456789abcdef", 32),
    "AWS": ("AKIA", string.ascii_uppercase + string.digits, 16),
    "GitHub": ("ghp_", _ALNUM, 36),
    "GitHub, fine-grained": ("github_pat_", _ALNUM + "_", 82),
    "Slack": ("xoxb-1", string.digits + "-", 40),
    "JWT": ("eyJhbGciOiJIUzI1NiJ9.", _ALNUM + "-_", 80),
}


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - {"JWT"}))
def test_whatever_has_a_shape_is_masked_in_texts_that_are_kept(name: str) -> None:
    prefix, alphabet, length = SHAPES[name]
    body = "".join(alphabet[7 * i % len(alphabet)] for i in range(length))
    assert mask_keys(f"select '{prefix}{body}' as api_key", ()) == "select '***' as api_key"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"Incorrect API key provided: sk-{BODY}.", "Incorrect API key provided: ***."),
        (f"sk-proj-{BODY}_-{BODY} is wrong", "*** is wrong"),
        (f"sk-loopback-{HEX}", "***"),
        (f"sk-ant-api03-{BODY}", "***"),
        (f"{{'key': 'AIza{BODY[:35]}'}}", "{'key': '***'}"),
        (f"eyJhbGciOiJIUzI1NiJ9.{BODY}.{BODY}", "***"),
        (f"line\\nsk-proj-{BODY}\\nline", "line\\n***\\nline"),
        (f"%20gsk_{BODY}%20", "%20***%20"),
        (f"\\u003dhf_{BODY}", "\\u003d***"),
        # headers: plain, as dict, as JSON, as JSON in JSON, as pairs of bytes
        (f"Authorization: Bearer {HEX}", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"),
        ("Proxy-Authorization: Basic dTpw==", "Proxy-Authorization: Basic ***"),
        (f"Authorization: {HEX}\nAccept: */*", "Authorization: ***\nAccept: */*"),
        (f"api-key: {HEX}, host", "api-key: ***, host"),
        (f"x-goog-api-key:{HEX}", "x-goog-api-key:***"),
        ("{'x-api-key': 'abc', 'a': 'b'}", "{'x-api-key': '***', 'a': 'b'}"),
        ('{"Api-Key": "test"}', '{"Api-Key": "***"}'),
        ('{"authorization":"Bearer none"}', '{"authorization":"Bearer ***"}'),
        ('"{\\"x-api-key\\": \\"abc\\"}"', '"{\\"x-api-key\\": \\"***\\"}"'),
        (f"[(b'authorization', b'Bearer {HEX}')]", "[(b'authorization', b'Bearer ***')]"),
        (f"Client(api_key='{HEX}', n=1)", "Client(api_key='***', n=1)"),
        (f"MISTRAL_API_KEY={BODY} dbt", "MISTRAL_API_KEY=*** dbt"),
        (f'{{"access_token": "{BODY}"}}', '{"access_token": "***"}'),
        (f"got bearer {BODY}", "got bearer ***"),
        # addresses
        ("https://h/v1?key=abc&alt=sse", "https://h/v1?key=***&alt=sse"),
        ("https://h/v1?alt=sse&api-key=abc", "https://h/v1?alt=sse&api-key=***"),
        ("https://h/?a=1\\u0026access_token=a.b", "https://h/?a=1\\u0026access_token=***"),
        ("to=%2F%3Fkey%3Dabc%26a%3D1", "to=%2F%3Fkey%3D***%26a%3D1"),
        ("https://user:p@ss:w@host:8080/v1", "https://user:***@host:8080/v1"),
        ("'redis://:pw@host'", "'redis://:***@host'"),
    ],
)
def test_keys_are_masked(text: str, redacted: str) -> None:
    assert redact_secrets(text) == redacted
    assert redact_secrets(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "the_number_of_orders_that_were_placed_by_returning_customers",
        "averyveryveryverylongwordofmorethan32characters",
        "model.coffee_shop.int_order_items_summed.v2",
        "test.shop.accepted_values_orders_status__placed__shipped.9c2a5c1f0b",
        "d41d8cd98f00b204e9800998ecf8427e",
        f"sha256:{HEX}{HEX}",
        "550e8400-e29b-41d4-a716-446655440000",
        "gpt-5.6-luna claude-haiku-4-5-20251001 gemini-3-flash meta-llama/Llama-3.3-70B-Instruct",
        "req_011CSHoEeqs5C35K2UUqR7Fy chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "msg_01XFDUDYJgAACzvnptvV resp_68af4030592c81938ec0a5fbab4a3e9f",
        "sk-learn, task-list-for-something, risk-or-reward_of_2024, sk-orders_by_customer_2024_v2",
        "sk-internationalization sk_customer_order_line_2024",
        "hf_transactions_2024 gsk_products_by_region_and_store fw_rules",
        "Set OPENAI_API_KEY; check AZURE_OPENAI_API_KEY and the base URL",
        "api key: missing; Invalid api key: please set one; api-key: required",
        '{"error": {"code": "invalid_api_key", "param": null, "type": "invalid_request_error"}}',
        "LLMConfig(api_key=None) where api_key = other.api_key",
        "Basic authentication, bearer token missing, Bearer authentication is required",
        "https://host:8080/v1/chat?alt=sse&page=2 mail@example.com",
        "tokens=1500 key=value token_count: 12345678",
        "select md5(cast(order_id as varchar)) as order_sk from t where k = 'a' -- 100 % [x]",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact_secrets(text) == text


def test_given_values_are_masked_in_every_spelling() -> None:
    quoted = 'a"b\\cé-d'
    for spelling in (SECRET, quote(SECRET), quote(SECRET, safe=""), SECRET.replace("/", "\\/")):
        assert redact_secrets(f"x{spelling}y", [SECRET]) == "x***y"
    assert redact_secrets(quote(SECRET, safe="").lower(), [SECRET.lower()]) == "***"
    assert redact_secrets(json.dumps([quoted]), [quoted]) == '["***"]'
    assert redact_secrets(repr([quoted]), [quoted]) == "['***']"


def test_the_longer_of_two_given_values_goes_first() -> None:
    assert redact_secrets("abcdef abcdefghi", ["abcdef", "abcdefghi"]) == "*** ***"


def test_a_given_beginning_of_a_key_does_not_save_its_rest() -> None:
    assert redact_secrets(f"sk-proj-{BODY}", ["sk-proj"]) == "***"


@pytest.mark.parametrize("secret", ["", "  ", "none", "test", "EMPTY", "ollama", "lm-studio"])
def test_placeholders_are_masked_only_behind_a_label(secret: str) -> None:
    text = "ollama and lm-studio gave none of the tested EMPTY values"
    assert redact_secrets(text, [secret]) == text
    if secret.strip():
        assert redact_secrets(f"{{'api-key': '{secret}'}}", [secret]) == "{'api-key': '***'}"


def looks_random(body: str) -> bool:
    start = body[:16]
    changes = any(a.islower() and b.isupper() for a, b in pairwise(start))
    return changes or any(c.isdigit() for c in start)


@st.composite
def keys(draw: st.DrawFn) -> str:
    prefix, alphabet, length = SHAPES[draw(st.sampled_from(sorted(SHAPES)))]
    body = st.text(alphabet, min_size=length, max_size=length).filter(looks_random)
    return prefix + draw(body)


BEFORE = st.sampled_from([" ", "\n", '"', "'", "=", ": ", "(", ",", "\\n", "%20", "`", "é "])
AFTER = st.sampled_from([" ", "\n", '"', "'", ")", ", ", "&", "\\n", "`", "…"])


@examples(100)
@given(st.text(), BEFORE, keys(), AFTER, st.text())
def test_no_key_survives(start: str, before: str, key: str, after: str, end: str) -> None:
    redacted = redact_secrets(start + before + key + after + end)
    parts = {key[i : i + 10] for i in range(len(key) - 9)}
    assert not any(part in redacted for part in parts if part not in start + end)


def is_secret(text: str) -> bool:
    value = text.strip()
    return len(value) >= 6 and value not in {"ollama", "lm-studio", "not-needed", "no-key-required"}


@examples(100)
@given(st.text(), st.text(min_size=6).filter(is_secret), st.text())
def test_no_given_value_survives(start: str, secret: str, end: str) -> None:
    assert secret.strip() not in redact_secrets(start + secret + end, [secret])


WORDS = st.one_of(
    st.from_regex(r"[a-z]{1,12}(_[a-z0-9]{1,9}){0,8}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{32}|[0-9a-f]{64}|[A-Z][a-z]{1,40}|[0-9.,:-]{1,9}", fullmatch=True),
    st.uuids().map(str),
    st.datetimes().map(str),
)


@examples(100)
@given(st.lists(WORDS).map(" ".join))
def test_text_without_keys_is_unchanged(text: str) -> None:
    assert redact_secrets(text, [SECRET]) == text


REPEATED = [
    *("a", "sk-", "sk-ant-", "sk-a-", "-eyJ", "eyJaaaaaaaa.", "api_key=", 'api_key="', "api_key ="),
    *("://a:", "://", "Bearer ", "basic aaaaaaaaa_", "?key=", "%26", "\\", "'", "AKIA", "ghp_"),
]


@pytest.mark.parametrize("piece", REPEATED)
def test_time_is_linear(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    with cpu_limit(5):  # 0.3 s; a quadratic pattern takes minutes
        redact_secrets(text, [SECRET])
        redact_secrets(f"api_key='{text}", [SECRET])
