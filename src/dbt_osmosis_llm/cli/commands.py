"""The group ``dbt-osmosis llm``."""

from __future__ import annotations

import sys

import click

from dbt_osmosis_llm.cli.options import by_name, setting_options, take_flags


@click.group()
def llm() -> None:
    """Look at what documentation synthesis would use."""


@llm.command()
@setting_options("prompt_file")
@click.option("--project-dir", type=click.Path(exists=True, file_okay=False), default=".")
def prompts(project_dir: str, **kwargs: object) -> None:
    """Print the prompts in force as a prompt file; an unusable one is reported."""
    # Loaded only now: this module is imported by every dbt-osmosis command.
    from dbt_osmosis_llm.cli.session import user_errors
    from dbt_osmosis_llm.config import load_settings
    from dbt_osmosis_llm.llm.prompts import dump_prompts, load_prompts

    with user_errors():
        settings = load_settings(by_name(take_flags(kwargs)), project_dir)
        loaded = load_prompts(settings.prompt_file, settings.prompt_overrides)
    dump_prompts(loaded, sys.stdout)
