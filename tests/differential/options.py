"""The host's options that decide what goes into YAML files, and where each can be set."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Row:
    """One option of the host."""

    name: str
    value: object = True
    on_command_line: bool = True
    in_project: bool = True
    """Under ``+dbt-osmosis-options``."""


ROWS = (
    Row("skip-add-columns"),
    Row("skip-add-source-columns"),
    Row("skip-add-tags"),
    Row("skip-merge-meta"),
    Row("skip-add-data-types"),
    Row("numeric-precision-and-scale"),
    Row("string-length"),
    Row("force-inherit-descriptions"),
    Row("skip-inherit-descriptions"),
    Row("use-unrendered-descriptions"),
    Row("prefer-yaml-values"),
    Row("add-progenitor-to-meta"),
    Row("output-to-lower"),
    Row("output-to-upper"),
    Row("scaffold-empty-configs"),
    Row("strip-eof-blank-lines", in_project=False),
    Row("fusion-compat", in_project=False),
    Row("no-fusion-compat", in_project=False),
    Row("include-external", in_project=False),
    Row("skip-inheritance-for-meta-keys", ["owner"]),
    Row("add-inheritance-for-specified-keys", ["policy_tags"]),
    Row("sort-by", "alphabetical", on_command_line=False),
    Row("sort-by", "database", on_command_line=False),
)


@dataclass(frozen=True)
class Option:
    """An option that a project or its run has."""

    name: str
    value: object
    in_project: bool

    @property
    def words(self) -> list[str]:
        """Return it as the command line has it."""
        if self.in_project:
            return []
        if isinstance(self.value, list):
            return [word for one in self.value for word in (f"--{self.name}", str(one))]
        return [f"--{self.name}"]


def draw_options(random: Random) -> list[Option]:
    """Return none, one or two options."""
    options: dict[str, Option] = {}
    for row in random.sample(ROWS, random.choice([0, 0, 1, 1, 2])):
        in_project = row.in_project and (not row.on_command_line or random.randrange(2) == 0)
        options.setdefault(row.name, Option(row.name, row.value, in_project))
    return list(options.values())
