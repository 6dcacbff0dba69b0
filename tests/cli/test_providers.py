"""Every provider documents the demo project through its own wire format, and counts as its server.

The variables are those that dbt-osmosis reads, with the base URLs that it wants.
"""

from __future__ import annotations

import re

import pytest

from tests.conftest import KEY, Shop
from tests.managed_identity import running_managed_identity
from tests.server import LoopbackServer

AZURE = {"AZURE_OPENAI_BASE_URL": "{root}", "AZURE_OPENAI_DEPLOYMENT_NAME": "our-docs"}
VARIABLES = {
    "openai": {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "{root}/v1"},
    "azure-openai": {**AZURE, "AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_MODEL": "gpt-6-luna"},
    "azure-openai-ad": {
        **AZURE,
        "AZURE_OPENAI_AD_TOKEN_SCOPE": "https://cognitiveservices.azure.com",
    },
    "anthropic": {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "{root}/v1"},
    "google-gemini": {
        "GOOGLE_GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": "{root}/v1beta/openai",
    },
    "ollama": {"OLLAMA_BASE_URL": "{root}/v1", "OLLAMA_MODEL": "llama3.2"},
    "lm-studio": {"LM_STUDIO_BASE_URL": "{root}/v1"},
    "openai-compatible": {
        "OPENAI_COMPATIBLE_BASE_URL": "{root}/v1",
        "OPENAI_COMPATIBLE_MODEL": "m",
    },
    "groq": {"GROQ_API_KEY": KEY, "GROQ_BASE_URL": "{root}/openai/v1"},
}
PATHS = {
    "azure-openai": "/openai/deployments/our-docs/chat/completions?api-version=2025-01-01-preview",
    "azure-openai-ad": "/openai/deployments/our-docs/chat/completions"
    "?api-version=2025-01-01-preview",
    "anthropic": "/v1/messages",
    "google-gemini": "/v1/models/gemini-3.8-flash:generateContent",
    "groq": "/openai/v1/chat/completions",
}
COSTS = {"ollama": "$0.00", "lm-studio": "$0.00", "openai-compatible": "unknown"}


@pytest.mark.parametrize("provider", VARIABLES)
def test_demo_is_documented_and_counted_to_the_token(
    shop: Shop, server: LoopbackServer, provider: str
) -> None:
    variables = {k: v.format(root=server.root) for k, v in VARIABLES[provider].items()}
    with running_managed_identity() as (identity, _):
        done = shop.document("--llm-provider", provider, "--llm-stats", **variables, **identity)
    assert done.returncode == 0, done.stderr
    texts = shop.texts()
    assert all(texts.values())
    assert len(texts) > 100
    assert {request.path for request in server.requests} == {
        PATHS.get(provider, "/v1/chat/completions")
    }
    said = done.stderr[done.stderr.index("Documentation by") :]
    numbers = {
        name: [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", rest)]
        for name, rest in re.findall(r"^ +(requests|\w+ tokens) +(.+?) *$", said, re.M)
    }
    assert numbers == {
        "requests": [len(server.requests), 0],
        "prompt tokens": [server.input_tokens, server.cached_tokens],
        "completion tokens": [server.output_tokens, server.reasoning_tokens],
    }
    cost = re.search(r"^ +cost +(\S+)", said, re.M)
    assert cost is not None
    assert re.fullmatch(COSTS.get(provider, r"\$0\.0\d+").replace("$0.00", r"\$0\.00"), cost[1])
    assert KEY not in done.stdout + done.stderr
