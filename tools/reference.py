"""Writes `docs/reference.md` from the code: settings, variables, providers, commands, exit codes.

The tables are made from click's parameters, not from its `--help`, whose layout differs between
the versions of click and with the width of the terminal. `make reference` writes the page,
`--check` ends with exit code 1 when the page is not what the code says.
"""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from dbt_osmosis_llm.cli.commands import llm, test_llm
from dbt_osmosis_llm.cli.errors import UserError
from dbt_osmosis_llm.config import OPTIONS, PROMPT_ENV_PREFIX, PROMPT_KEYS, Option
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS, ProviderSpec

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
_HEAD = "<!-- Made by `make reference` from the code; edits are lost. -->"


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [_HEAD, "# Reference", _settings(), _variables(), _providers(), _commands(), _codes()]
    return "\n\n".join(parts) + "\n"


def _settings() -> str:
    rows = (
        (
            _flag(option),
            _code(option.env),
            _code(option.key),
            _default(option),
            option.help,
        )
        for option in OPTIONS
    )
    return "\n\n".join(
        [
            "## Settings",
            "The flags are those of `dbt-osmosis yaml document` and `dbt-osmosis yaml refactor`; "
            "they need `--synthesize`. A key stands in dbt_project.yml under "
            "`vars: dbt-osmosis: llm:`. A flag beats the environment, the environment beats the "
            "project, `--vars` beats dbt_project.yml.",
            _table(("flag", "environment", "key", "default", "what it does"), rows),
        ]
    )


def _flag(option: Option) -> str:
    if option.flag is None:
        return ""
    return _code(option.flag) if option.is_switch else _with_value(option.flag, option.metavar)


def _default(option: Option) -> str:
    if option.default is None:
        return ""
    if option.is_switch:
        return "on" if option.default else "off"
    if isinstance(option.default, float):
        return f"{option.default:g}"
    return f"{option.default:,}" if isinstance(option.default, int) else str(option.default)


def _variables() -> str:
    prompts = ", ".join(f"`{PROMPT_ENV_PREFIX}{key.upper()}`" for key in PROMPT_KEYS)
    rows = [
        ("`DBT_OSMOSIS_LLM`", "`off` switches the plugin off: dbt-osmosis runs as without it."),
        (prompts, "One prompt, instead of that of the prompt file. See [prompts](prompts.md)."),
    ]
    return "\n\n".join(["## Other variables", _table(("variable", "what it does"), rows)])


def _providers() -> str:
    rows = (
        (
            _code(spec.name),
            _code(spec.default_model) or "none",
            "<br>".join(_provider_variables(spec)),
            _code(f"dbt-osmosis-llm[{spec.extra}]") if spec.extra else "",
        )
        for spec in PROVIDERS.values()
    )
    return "\n\n".join(
        [
            "## Providers",
            "A variable in bold has to be set. API keys are read from the environment only. See "
            "[providers](providers.md).",
            _table(("provider", "default model", "variables", "install"), rows),
        ]
    )


def _provider_variables(spec: ProviderSpec) -> Iterator[str]:
    needed: dict[str | None, bool] = {
        spec.key_env: spec.key_required,
        spec.model_env: spec.default_model is None,
        spec.base_url_env: spec.base_url_required,
        **{env: name in spec.required_options for name, env in spec.options_env.items()},
    }
    for name, is_needed in needed.items():
        if name:
            yield f"**{_code(name)}**" if is_needed else _code(name)


def _commands() -> str:
    found = [("dbt-osmosis test-llm", test_llm)]
    found += [(f"dbt-osmosis llm {name}", llm.commands[name]) for name in sorted(llm.commands)]
    return "\n\n".join(["## Commands", *(_command(path, command) for path, command in found)])


def _command(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    options = [param for param in command.params if isinstance(param, click.Option)]
    parts = [
        f"### {path}",
        f"```text\n{path} {usage}\n```",
        *(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")),
    ]
    if options:
        rows = ((_spelled(option), _option_help(option)) for option in options)
        parts.append(_table(("option", "what it does"), rows))
    return "\n\n".join(parts)


def _spelled(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return _code(names)
    if isinstance(option.type, click.Choice):
        return _with_value(names, "|".join(map(str, option.type.choices)))
    return _with_value(names, option.metavar or option.type.name.upper())


def _with_value(names: str, value: str | None) -> str:
    """Return an option and its value; choices stand apart: no code in a table can hold a bar."""
    if value and "|" in value:
        return f"{_code(names)} {' or '.join(map(_code, value.strip('[]').split('|')))}"
    return _code(f"{names} {value}")


def _option_help(option: click.Option) -> str:
    text = " ".join((option.help or "").split())
    shown = option.show_default
    if isinstance(shown, str):
        text += f" Default: {shown}."
    elif shown:
        text += f" Default: {_code(str(option.default))}."
    if option.required:
        text += " Has to be given."
    return text.strip()


def _codes() -> str:
    rows = [
        ("0", "all was answered and written"),
        (
            "1",
            "`--synthesize`: some tables failed; they are named, run again. `llm check`: there is "
            "something to do. `llm verify`: a record was changed.",
        ),
        (
            str(UserError.exit_code),
            "the run could not start or had to stop, or the command line is wrong; one line says "
            "what to do",
        ),
        (
            str(128 + signal.SIGINT),
            "interrupted by Ctrl-C or SIGTERM; what was answered is written",
        ),
    ]
    return "\n\n".join(["## Exit codes", _table(("code", "meaning"), rows)])


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "&#124;")


def main() -> None:
    """Write the page, or with ``--check`` tell whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="Write nothing.")
    wanted = page()
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text("utf-8") != wanted:
            sys.exit(f"{PAGE.name} is not what the code says; run `make reference`.")
        return
    PAGE.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
