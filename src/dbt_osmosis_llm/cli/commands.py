"""The group ``dbt-osmosis llm`` and our ``dbt-osmosis test-llm``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from dbt_osmosis_llm.cli.options import by_name, setting_options, take_flags

# What a command needs is loaded in it: this module is imported by every dbt-osmosis command.


def _nearest_project() -> str:
    """Return the folder of the nearest dbt_project.yml upwards, as the host's commands do."""
    here = Path.cwd()
    folders = (folder for folder in (here, *here.parents) if (folder / "dbt_project.yml").exists())
    return str(next(folders, here))


_project_dir = click.option(
    "--project-dir",
    type=click.Path(exists=True, file_okay=False),
    default=_nearest_project,
    show_default="the nearest folder upwards that has one",
    help="Where dbt_project.yml lies.",
)


@click.group()
def llm() -> None:
    """Look at what documentation synthesis would use."""


@llm.command()
@setting_options("prompt_file")
@_project_dir
def prompts(project_dir: str, **kwargs: object) -> None:
    """Print the prompts in force as a prompt file; an unusable one is reported."""
    from dbt_osmosis_llm.cli.session import user_errors
    from dbt_osmosis_llm.config import load_settings
    from dbt_osmosis_llm.llm.prompts import dump_prompts, load_prompts

    with user_errors():
        settings = load_settings(by_name(take_flags(kwargs)), project_dir)
        loaded = load_prompts(settings.prompt_file, settings.prompt_overrides)
    dump_prompts(loaded, sys.stdout)


@llm.command()
@_project_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def providers(project_dir: str, *, as_json: bool) -> None:
    """List the providers, what each needs, and what of it is set; no value is shown."""
    from dbt_osmosis_llm.cli.providers import print_providers, provider_facts
    from dbt_osmosis_llm.cli.session import user_errors
    from dbt_osmosis_llm.config import load_settings

    with user_errors():
        settings = load_settings(None, project_dir)
    if as_json:
        click.echo(json.dumps(provider_facts(settings), indent=2))
    else:
        print_providers(settings)


@click.command("test-llm")
@setting_options("provider", "model", "timeout_s")
@_project_dir
def test_llm(project_dir: str, **kwargs: object) -> None:
    """Ask the model once: who answers, how fast, at what cost, and whether JSON schemas work."""
    from dbt_osmosis_llm.cli.connection import print_connection

    print_connection(take_flags(kwargs), project_dir)
