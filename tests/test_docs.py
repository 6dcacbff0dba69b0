"""The docs tell the truth: options, links, and code that runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dbt_osmosis_llm.config import OPTIONS, PROMPT_KEYS
from dbt_osmosis_llm.llm.prompts import PLACEHOLDERS
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SNIPPETS = [
    (page.name, code)
    for page in PAGES
    for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]


def test_readme_has_every_option() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for option in OPTIONS:
        for name in (option.flag, option.env, f"`{option.key}`"):
            assert name is None or name in readme, name


def test_providers_are_documented_with_their_variables() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    page = (ROOT / "docs/providers.md").read_text("utf-8")
    for spec in PROVIDERS.values():
        assert f"`{spec.name}`" in readme
        named = (spec.key_env, spec.model_env, spec.base_url_env, *spec.options_env.values())
        for variable in named:
            assert variable is None or variable in readme + page, variable
        assert spec.name == "offline" or (spec.default_model or "") in readme + page


def test_prompt_page_has_every_key_and_placeholder() -> None:
    page = (ROOT / "docs/prompts.md").read_text("utf-8")
    for name in (*PROMPT_KEYS, *(f"{{{name}}}" for name in PLACEHOLDERS)):
        assert f"`{name}`" in page


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(("page", "code"), SNIPPETS, ids=[page for page, _ in SNIPPETS])
def test_code_runs(page: str, code: str) -> None:
    exec(compile(code, page, "exec"), {})
