"""What ``--help`` and output look like on a narrow terminal, and without colours."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from dbt_osmosis_llm.cli import commands
from dbt_osmosis_llm.cli.options import add_options
from dbt_osmosis_llm.config import OPTIONS
from tests.commands import clean_environment, run_command
from tests.conftest import cli_runner

COLUMNS = 80
HEADING = "Options of dbt-osmosis-llm, for --synthesize:"
FLAGS = [option.flag for option in OPTIONS if option.flag]
OURS = {
    "llm": commands.llm,
    "test-llm": commands.test_llm,
    **{f"llm {name}": command for name, command in commands.llm.commands.items()},
}


def run(tmp_path: Path, *arguments: str, **environ: str) -> str:
    environment = clean_environment(COLUMNS=str(COLUMNS), **environ)
    done = run_command("dbt-osmosis", *arguments, directory=tmp_path, environ=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def flags_of(lines: list[str]) -> list[str]:
    return re.findall(r"^  (--llm-[a-z-]+)", "\n".join(lines), re.M)


@pytest.mark.parametrize("command", ["document", "refactor"])
def test_our_options_stand_under_one_heading_below_those_of_the_host(
    tmp_path: Path, command: str
) -> None:
    shown = run(tmp_path, "yaml", command, "--help").splitlines()
    assert max(map(len, shown)) <= COLUMNS
    assert shown.count(HEADING) == 1
    ours = shown.index(HEADING)
    host = shown[:ours]
    assert "Options:" in host
    assert {"--synthesize", "--help"} <= {line.split()[0] for line in host if line.strip()}
    assert flags_of(host) == []
    assert flags_of(shown[ours:]) == FLAGS
    assert all(line.startswith("  ") for line in shown[ours + 1 :])


@pytest.mark.parametrize("name", OURS)
def test_the_help_of_our_commands_fits_80_columns(name: str) -> None:
    done = cli_runner().invoke(OURS[name], ["--help"], terminal_width=COLUMNS)
    assert done.exit_code == 0
    assert "--help" in done.output
    assert max(map(len, done.output.splitlines())) <= COLUMNS


def test_what_our_commands_do_is_said_whole_in_the_list() -> None:
    shown = cli_runner().invoke(commands.llm, ["--help"], terminal_width=COLUMNS).output
    listed = shown.partition("Commands:")[2]
    assert "..." not in listed
    assert re.findall(r"^  ([a-z]+)  ", listed, re.M) == sorted(commands.llm.commands)


def test_a_host_that_writes_its_help_in_another_way_keeps_it() -> None:
    class Fancy(click.Command):
        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            with formatter.section("Everything"):
                formatter.write_dl([(param.opts[0], "fancy") for param in self.params])

    command = Fancy("document", params=[click.Option(["--synthesize"], is_flag=True)])
    before = command.get_help(click.Context(command))
    add_options(command)
    after = command.get_help(click.Context(command))
    assert before.splitlines()[-1] in after.splitlines()
    assert HEADING in after


def test_no_color_takes_the_colours_out_on_a_terminal_that_has_them(tmp_path: Path) -> None:
    shown = run(tmp_path, "llm", "providers", FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
    # Bold is no colour, and stays.
    assert set(re.findall(r"\x1b\[([\d;]*)m", shown)) == {"0", "1"}
