from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dbt_osmosis_llm.config import (
    OPTIONS,
    Settings,
    SettingsError,
    load_settings,
    without_credentials,
)


def project(tmp_path: Path, llm: str) -> Path:
    (tmp_path / "dbt_project.yml").write_text(f"name: x\nvars:\n  dbt-osmosis:\n    llm: {llm}\n")
    return tmp_path


def test_defaults_without_anything_set() -> None:
    assert load_settings(environ={}) == Settings()


def test_every_option_is_a_field_with_the_same_default() -> None:
    for option in OPTIONS:
        assert getattr(Settings(), option.name) == option.default


def test_flag_beats_environment_beats_project_beats_default(tmp_path: Path) -> None:
    where = project(tmp_path, "{timeout: 3, provider: lm-studio, stats: true}")
    environ = {"OSMOSIS_LLM_TIMEOUT": "2", "LLM_PROVIDER": "ollama"}
    settings = load_settings({"timeout_s": "1"}, where, environ=environ)
    assert (settings.timeout_s, settings.provider, settings.show_stats) == (1.0, "ollama", True)


def test_the_project_s_model_is_its_provider_s(tmp_path: Path) -> None:
    where = project(tmp_path, "{provider: lm-studio, model: from-project}")
    settings = load_settings({}, where, environ={})
    assert (settings.model, settings.project_model) == (None, "from-project")
    other = load_settings({}, where, environ={"LLM_PROVIDER": "ollama"})
    assert (other.model, other.project_model) == (None, None)
    flag = load_settings({"model": "from-flag"}, where, environ={})
    assert (flag.model, flag.project_model) == ("from-flag", None)


def test_command_line_vars_override_the_project(tmp_path: Path) -> None:
    where = project(tmp_path, "{provider: ollama, timeout: 3}")
    settings = load_settings({}, where, {"dbt-osmosis": {"llm": {"timeout": 9}}}, environ={})
    assert (settings.provider, settings.timeout_s) == ("ollama", 9.0)


def test_project_prompt_file_is_relative_to_the_project(tmp_path: Path) -> None:
    where = project(tmp_path, "{prompt-file: docs/prompts.yaml}")
    assert load_settings({}, where, environ={}).prompt_file == tmp_path / "docs/prompts.yaml"


def test_empty_variables_count_as_not_set() -> None:
    assert load_settings(environ={"OSMOSIS_LLM_TIMEOUT": " ", "LLM_PROVIDER": ""}) == Settings()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OSMOSIS_LLM_TIMEOUT": "soon"}, "OSMOSIS_LLM_TIMEOUT is 'soon'; it must be a number of"),
        ({"OSMOSIS_LLM_TIMEOUT": "nan"}, "OSMOSIS_LLM_TIMEOUT is 'nan'"),
        ({"OSMOSIS_LLM_TIMEOUT": "-1"}, "at least 0.1"),
        ({"OSMOSIS_LLM_MAX_RETRIES": "1.5"}, "a whole number of retries"),
        ({"OSMOSIS_LLM_TRACK_USAGE": "maybe"}, "must be true or false"),
        ({"OSMOSIS_LLM_PROMPT_MODEL_SYSTM": "x"}, "Did you mean 'model_system'?"),
        ({"OSMOSIS_LLM_MAXCOST": "5"}, "Did you mean 'OSMOSIS_LLM_MAX_COST'?"),
        ({"OSMOSIS_LLM_": "x"}, "OSMOSIS_LLM_ is not a setting. Correct"),
    ],
)
def test_unusable_values_say_what_is_wanted(environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(environ=environ)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_project_key_names_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no key 'timeot'\. Did you mean 'timeout'"):
        load_settings({}, project(tmp_path, "{timeot: 3}"), environ={})


def test_prompt_variables_override_single_prompts() -> None:
    environ = {"OSMOSIS_LLM_PROMPT_MODEL_USER": "Say {sql}", "OSMOSIS_LLM_PROMPT_FILE": "p.yaml"}
    settings = load_settings(environ=environ)
    assert settings.prompt_overrides == {"model_user": "Say {sql}"}
    assert settings.prompt_file == Path("p.yaml")


@pytest.mark.parametrize("text", ["", "[1]", ": :", "vars: 3"])
def test_odd_project_files_are_left_to_dbt(tmp_path: Path, text: str) -> None:
    (tmp_path / "dbt_project.yml").write_text(text)
    assert load_settings({}, tmp_path, environ={}) == Settings()


def test_switch_from_project(tmp_path: Path) -> None:
    values: dict[str, Any] = {"{stats: true}": True, "{stats: no}": False}
    for text, expected in values.items():
        assert load_settings({}, project(tmp_path, text), environ={}).show_stats is expected


def test_project_section_must_be_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="llm: is 'offline'; it must be a mapping"):
        load_settings({}, project(tmp_path, "offline"), environ={})


def test_urls_are_shown_without_credentials() -> None:
    shown = without_credentials("http://user:hunter2@host:9/v1?key=x#y")
    assert shown == "http://host:9/v1"
    assert without_credentials("localhost:1") == "localhost:1"
    assert without_credentials("postgresql://u:pa/ss@h/db") == "postgresql://h/db"
    assert without_credentials("https://u:p@w@host#frag") == "https://host"
    assert without_credentials("sqlite:////home/u@x/l.db") == "sqlite:////home/u@x/l.db"
