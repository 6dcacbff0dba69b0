"""A mistake of the user's: one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from dbt_osmosis_llm.config import SettingsError
from dbt_osmosis_llm.llm.exceptions import LLMConfigError


class UserError(click.ClickException):
    """A mistake of the user's: one line, exit code 2."""

    exit_code = 2


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what is wrong with a setting into one line and exit code 2."""
    try:
        yield
    except (SettingsError, LLMConfigError) as error:
        raise UserError(str(error)) from None
