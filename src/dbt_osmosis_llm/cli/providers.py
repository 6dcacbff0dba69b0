"""``dbt-osmosis llm providers``: what each provider needs and what of it is there."""

from __future__ import annotations

import importlib.util
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dbt_osmosis_llm.cli.summary import WIDE
from dbt_osmosis_llm.config import Settings, read_env, without_credentials
from dbt_osmosis_llm.llm.configuration import find_provider
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS, ProviderSpec


def provider_facts(settings: Settings) -> list[dict[str, Any]]:
    """Return what there is to know of each provider as plain values; no value of a variable.

    Returns:
        For each provider ``name``, ``chosen``, ``default_model``, ``base_url``, ``variables``
        (each with ``name``, ``required``, ``set``), ``sdk`` (module names), ``sdk_installed``,
        ``extra`` (ours, which installs it) and ``install`` (None when nothing is missing).
    """
    chosen = settings.provider.strip().lower()
    return [_facts(spec, chosen) for spec in PROVIDERS.values()]


def _facts(spec: ProviderSpec, chosen: str) -> dict[str, Any]:
    needed: dict[str | None, bool] = {
        spec.key_env: spec.key_required,
        spec.model_env: spec.default_model is None,
        spec.base_url_env: spec.base_url_required,
        **{env: name in spec.required_options for name, env in spec.options_env.items()},
    }
    installed = all(_is_importable(module) for module in spec.sdk)
    what = f"dbt-osmosis-llm[{spec.extra}]" if spec.extra else "openai>=2,<4"
    return {
        "name": spec.name,
        "chosen": spec.name == chosen,
        "default_model": spec.default_model,
        "base_url": spec.base_url and without_credentials(spec.base_url),
        "variables": [
            {"name": name, "required": required, "set": read_env(name) is not None}
            for name, required in needed.items()
            if name
        ],
        "sdk": list(spec.sdk),
        "sdk_installed": installed,
        "extra": spec.extra,
        "install": None if installed else f"pip install '{what}'",
    }


def _is_importable(module: str) -> bool:
    """Tell whether a module can be found, without loading it: SDKs take seconds."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def print_providers(settings: Settings) -> None:
    """Print a table of all providers; the chosen one has an arrow."""
    table = Table("", "provider", "default model", "variables", box=None, pad_edge=False)
    table.columns[-1].no_wrap = True
    for facts in provider_facts(settings):
        lines = [f"{_mark(variable)} {variable['name']}" for variable in facts["variables"]]
        if facts["install"]:
            lines.append(f"! {facts['install']}")
        table.add_row(
            "->" if facts["chosen"] else "",
            facts["name"],
            facts["default_model"] or "(name one)",
            "\n".join(lines),
        )
    console = Console(highlight=False, markup=False, emoji=False, width=WIDE)
    console.print(table)
    console.print("\n+ is set   ! is needed and missing   . may be set   -> is chosen now")
    try:
        find_provider(settings.provider)
    except LLMConfigError as error:
        click.echo(str(error), err=True)


def _mark(variable: dict[str, Any]) -> str:
    if variable["set"]:
        return "+"
    return "!" if variable["required"] else "."
