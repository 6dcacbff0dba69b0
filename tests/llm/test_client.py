from __future__ import annotations

from typing import Any

import pytest
from dbt_osmosis.core import exceptions as host

from dbt_osmosis_llm.config import Settings
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.llm import exceptions
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.stack import _is_near, build_client, create_provider

KEY = "sk-very-secret-0123456789"


def test_from_env_reads_the_variables_of_dbt_osmosis() -> None:
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_MODEL": "gpt-6-sol", "OPENAI_BASE_URL": "http://x/v1"}
    config = LLMConfig.from_env(environ=environ)
    assert (config.provider, config.model, config.base_url) == (
        "openai",
        "gpt-6-sol",
        "http://x/v1",
    )
    assert config.api_key == KEY


def test_a_model_from_the_command_line_wins() -> None:
    environ = {"OLLAMA_MODEL": "llama2:latest"}
    settings = Settings(provider="Ollama", model="qwen3")
    assert LLMConfig.from_env(settings, environ).model == "qwen3"
    assert LLMConfig.from_env(Settings(provider="ollama"), environ).model == "llama2:latest"


def test_the_model_of_flag_variable_and_project_in_this_order() -> None:
    settings = Settings(provider="ollama", project_model="of-the-project")
    assert LLMConfig.from_env(settings, {}).model == "of-the-project"
    variable = {"OLLAMA_MODEL": "of-the-variable"}
    assert LLMConfig.from_env(settings, variable).model == "of-the-variable"
    flag = Settings(provider="ollama", project_model="of-the-project", model="of-the-flag")
    assert LLMConfig.from_env(flag, variable).model == "of-the-flag"


@pytest.mark.parametrize(
    "wrong",
    [{"timeout_s": 0}, {"max_in_flight": 0}, {"requests_per_minute": -1}, {"max_retries": -1}],
)
def test_numbers_that_make_no_sense_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(LLMConfigError, match=f"{next(iter(wrong))} is"):
        create_provider("ollama", **wrong)
    with pytest.raises(LLMConfigError, match=r"has no 'modle'. Did you mean 'model'"):
        create_provider("ollama", modle="x")


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://localhost:11434/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:80/v1", True),
        ("http://192.168.1.20:11434/v1", True),
        ("http://gpu-box:11434/v1", True),
        ("http://gpu.lan/v1", True),
        ("https://ollama.com/v1", False),
        ("https://8.8.8.8/v1", False),
        (None, False),
    ],
)
def test_an_endpoint_is_free_and_unlimited_only_nearby(url: str | None, near: bool) -> None:
    assert _is_near(url) is near


def test_what_a_url_carries_is_as_secret_as_a_key() -> None:
    config = LLMConfig("openai", "m", KEY, "https://user:hunter2secret@gateway/v1?key=qsecret123")
    assert config.secrets == (KEY, "hunter2secret", "qsecret123")


def test_the_key_is_in_no_output() -> None:
    config = LLMConfig.from_env(
        environ={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"https://user:{KEY}@gateway/v1?k={KEY}"}
    )
    assert KEY not in str(config.to_metadata_dict())
    assert config.to_metadata_dict()["base_url"] == "https://gateway/v1"
    assert KEY not in repr(config)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"LLM_PROVIDER": "opnai"}, "Unknown provider 'opnai'. Did you mean 'openai'?"),
        (
            {"LLM_PROVIDER": "zzz"},
            "one of: anthropic, azure-openai, azure-openai-ad, deepseek",
        ),
        ({}, "Provider 'openai' needs a key: set OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": " "}, "set OPENAI_API_KEY"),
        ({"LLM_PROVIDER": "ollama", "OLLAMA_BASE_URL": "localhost:1"}, "OLLAMA_BASE_URL is"),
        ({"LLM_PROVIDER": "ollama", "OLLAMA_BASE_URL": "http://[::1/v1"}, "must be a URL such as"),
        ({"LLM_PROVIDER": "ollama", "OLLAMA_BASE_URL": "http://host:abc/v1"}, "must be a URL"),
        ({"OPENAI_API_KEY": "sk-\u00e4"}, "The key of provider 'openai' holds characters"),
        ({"OSMOSIS_LLM_TIMEOUT": "x"}, "OSMOSIS_LLM_TIMEOUT is 'x'"),
    ],
)
def test_configuration_errors_say_what_to_do(environ: dict[str, str], says: str) -> None:
    with pytest.raises(LLMConfigError) as error:
        LLMConfig.from_env(environ=environ)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_our_errors_are_dbt_osmosis_errors() -> None:
    compat.share_errors()
    assert issubclass(exceptions.LLMConfigError, host.LLMConfigurationError)
    assert issubclass(exceptions.LLMResponseError, host.LLMResponseError)
    for name in ("LLMAPIError", "LLMRateLimitError", "LLMTimeoutError", "LLMBudgetError"):
        assert issubclass(getattr(exceptions, name), host.LLMError)


def test_missing_sdk_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(LLMConfigError, match=r"pip install 'openai>=2,<4'"):
        build_client(LLMConfig("openai", "m", api_key=KEY))


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY[:8]}\n{KEY[8:]}", f"{KEY} "])
def test_a_key_that_no_header_can_carry_is_never_shown(key: str) -> None:
    with pytest.raises(LLMConfigError, match="holds characters that no key has") as caught:
        LLMConfig("anthropic", "m", key)
    assert KEY[:8] not in str(caught.value)


def test_prompts_for_another_provider_never_go_to_openai() -> None:
    # The openai SDK's own address is OpenAI's.
    client: Any = build_client(LLMConfig("ollama", "m"))
    while hasattr(client, "_inner"):
        client = client._inner
    assert str(client._sdk.base_url) == "http://localhost:11434/v1/"
    with pytest.raises(LLMConfigError, match="needs OPENAI_COMPATIBLE_BASE_URL"):
        build_client(LLMConfig("openai-compatible", "m"))
