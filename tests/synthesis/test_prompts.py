from __future__ import annotations

from pathlib import Path

import pytest

from dbt_osmosis_llm.config import PROMPT_KEYS
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.synthesis.prompts import (
    DEFAULT_PROMPTS,
    PLACEHOLDERS,
    Prompts,
    dump_prompts,
    load_prompts,
)

VALUES = {name: f"<{name} of orders>" for name in PLACEHOLDERS}


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "prompts.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def render(prompts: Prompts, kind: str = "model", **values: str) -> tuple[str, str]:
    system, user = prompts.render(kind, {**VALUES, **values}, answer_format="ANSWER")  # type: ignore[arg-type]
    return system.content, user.content


def test_there_is_a_default_for_each_key_and_it_loads() -> None:
    assert tuple(DEFAULT_PROMPTS) == PROMPT_KEYS
    assert load_prompts().templates == DEFAULT_PROMPTS


@pytest.mark.parametrize("kind", ["model", "table", "column"])
def test_defaults_send_sql_upstream_and_context(kind: str) -> None:
    system, user = render(Prompts(), kind)
    for name in ("sql", "upstream_docs", "existing_context", "table_name"):
        assert VALUES[name] in user
    assert system.endswith("ANSWER")


def test_system_message_is_the_same_for_every_node() -> None:
    # Providers cache the longest common prefix of requests.
    assert render(Prompts(), sql="a")[0] == render(Prompts(), sql="b")[0]


def test_other_braces_stay_and_values_are_not_searched(tmp_path: Path) -> None:
    template = 'JSON {"a": {"b": 1}} {} {{ ref("x") }} {{sql}} { sql } {sql}'
    prompts = load_prompts(write(tmp_path, f"model_user: '{template}'"))
    _, user = render(prompts, sql="select '{columns}'")
    assert user == template.replace(" {sql}", " select '{columns}'", 1).replace(
        "{{sql}} { sql } {sql}", "{{sql}} { sql } select '{columns}'"
    )


def test_file_overrides_and_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "model_system: from file\ntable_user: 'T {sql}'\n")
    prompts = load_prompts(path, {"model_system": "from env"})
    assert prompts.templates["model_system"] == "from env"
    assert prompts.templates["table_user"] == "T {sql}"
    assert prompts.templates["column_user"] == DEFAULT_PROMPTS["column_user"]


def test_variables_rules_and_language(tmp_path: Path) -> None:
    text = """
variables: {company_name: Roastery}
rules: ["Write for {company_name}.", Use ISO dates.]
language: German
model_system: You work at {company_name}.
"""
    system, _ = render(load_prompts(write(tmp_path, text)))
    assert system.split("\n\n") == [
        "You work at Roastery.",
        "Rules of this project:\n- Write for Roastery.\n- Use ISO dates.",
        "Write every text in German.",
        "ANSWER",
    ]


def test_only_terms_that_occur_are_sent(tmp_path: Path) -> None:
    text = "glossary: {net revenue: after returns, AOV: average order value, SKU: stock unit}"
    prompts = load_prompts(write(tmp_path, text))
    _, user = render(prompts, sql="select aov, sum(x) as net_revenue_usd, skull from t")
    assert "Terms of this company:\n- net revenue: after returns\n- AOV: average order" in user
    assert "SKU" not in user


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a list", "must be a mapping with any of the keys model_system, .*, not a list"),
        ("", "must be a mapping .*, not empty"),
        ("just text", "not 'just text'"),
        ("a: [1", r"is not YAML: .* \(line 1, column"),
        ("a: b: c", "is not YAML"),
        ("x: 1\nx: 2", "is not YAML"),
        (b"model_user: \xff", "is not UTF-8"),
        ("model_systm: x", "unknown key 'model_systm'. Did you mean 'model_system'"),
        ("1: x", "unknown key 1"),
        ("model_user: 'Use {sqll}'", r"model_user has an unknown placeholder \{sqll\}. Did you"),
        ("model_user: '{column_name}'", "unknown placeholder {column_name}"),
        ("rules: ['Mind {company}']", "rules has an unknown placeholder {company}"),
        ("model_user: [a]", "model_user must be a text, not a list"),
        ("model_user: ''", "model_user must be a text, not ''"),
        ("rules: one", "rules must be a list of sentences, not 'one'"),
        ("variables: {sql: x}", "variables: 'sql' is a built-in placeholder"),
        ("variables: {two words: x}", "variables: 'two words' is not one word"),
        ("glossary: [a]", "glossary must be a mapping, not a list"),
        ("language: {}", "language must be a text, not a mapping"),
    ],
)
def test_each_mistake_has_one_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LLMConfigError, match=says) as error:
        load_prompts(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_placeholder_lists_those_that_exist(tmp_path: Path) -> None:
    path = write(tmp_path, "variables: {company: R}\ncolumn_user: '{nope}'")
    with pytest.raises(LLMConfigError) as error:
        load_prompts(path)
    for name in (*PLACEHOLDERS, "company"):
        assert f"{{{name}}}" in str(error.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(LLMConfigError, match="does not exist"):
        load_prompts(tmp_path / "none.yaml")
    with pytest.raises(LLMConfigError, match="cannot be read: Is a directory"):
        load_prompts(tmp_path)


def test_environment_template_is_named_by_its_variable() -> None:
    with pytest.raises(LLMConfigError, match=r"^OSMOSIS_LLM_PROMPT_TABLE_USER has an unknown"):
        load_prompts(None, {"table_user": "{nope}"})


def test_the_example_file_loads_and_uses_every_key(root: Path) -> None:
    prompts = load_prompts(root / "prompts.example.yaml")
    assert prompts.variables
    assert prompts.rules
    assert prompts.glossary
    assert prompts.language
    changed = [key for key in PROMPT_KEYS if prompts.templates[key] != DEFAULT_PROMPTS[key]]
    assert changed == list(PROMPT_KEYS)
    for kind in ("model", "table", "column"):
        system, user = render(prompts, kind)
        assert VALUES["sql"] in user
        assert "{" + "company_name" + "}" not in system + user


def test_dumped_prompts_read_back_the_same(root: Path, tmp_path: Path) -> None:
    for prompts in (load_prompts(), load_prompts(root / "prompts.example.yaml")):
        with (tmp_path / "dump.yaml").open("w") as stream:
            dump_prompts(prompts, stream)
        assert load_prompts(tmp_path / "dump.yaml") == prompts
