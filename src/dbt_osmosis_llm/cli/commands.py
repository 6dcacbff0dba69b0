"""The group ``dbt-osmosis llm`` and our ``dbt-osmosis test-llm``."""

from __future__ import annotations

import json
import sys

import click

from dbt_osmosis_llm.cli import ledger
from dbt_osmosis_llm.cli.check import check
from dbt_osmosis_llm.cli.explain import explain
from dbt_osmosis_llm.cli.export import export
from dbt_osmosis_llm.cli.options import by_name, project_dir_option, setting_options, take_flags

# What a command needs is loaded in it: this module is imported by every dbt-osmosis command.


@click.group()
def llm() -> None:
    """Look at what documentation synthesis would use, and at what it has asked."""


@llm.command()
@setting_options("prompt_file")
@project_dir_option
def prompts(project_dir: str, **kwargs: object) -> None:
    """Print the prompts in force as a prompt file.

    A prompt file that cannot be used is reported.
    """
    from dbt_osmosis_llm.cli.errors import user_errors
    from dbt_osmosis_llm.config import load_settings
    from dbt_osmosis_llm.synthesis.prompts import dump_prompts, load_prompts

    with user_errors():
        settings = load_settings(by_name(take_flags(kwargs)), project_dir)
        loaded = load_prompts(settings.prompt_file, settings.prompt_overrides)
    dump_prompts(loaded, sys.stdout)


@llm.command()
@project_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def providers(project_dir: str, *, as_json: bool) -> None:
    """List the providers, what each needs, and what of it is set.

    No value is shown.
    """
    from dbt_osmosis_llm.cli.errors import user_errors
    from dbt_osmosis_llm.cli.providers import print_providers, provider_facts
    from dbt_osmosis_llm.config import load_settings

    with user_errors():
        settings = load_settings(None, project_dir)
    if as_json:
        click.echo(json.dumps(provider_facts(settings), indent=2))
    else:
        print_providers(settings)


for _command in (explain, check, *ledger.COMMANDS, export):
    llm.add_command(_command)


@click.command("test-llm")
@setting_options("provider", "model", "timeout_s")
@project_dir_option
def test_llm(project_dir: str, **kwargs: object) -> None:
    """Ask the model once: who answers, how fast, at what cost, and whether JSON schemas work."""
    from dbt_osmosis_llm.cli.connection import print_connection

    print_connection(take_flags(kwargs), project_dir)
