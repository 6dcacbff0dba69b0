"""The values of a seed's columns that have few of them, read from its file.

They are the only rows of data that a prompt ever holds, so they are read only when the user says
so, and only of columns that hold categories: what has many values, or long ones, may be anything.
"""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

from dbt_osmosis_llm._log import logger

_MAX_ROWS = 1000
_MAX_VALUES = 10
_MAX_VALUE_CHARS = 40


def read_values(path: Path, delimiter: str = ",") -> dict[str, tuple[str, ...]]:
    """Return the columns of a CSV file in their order, each with all its values.

    A column with more than 10 different values in the first 1,000 rows, or with one of more than
    40 characters, has none here; nor has a file that cannot be read any columns.
    """
    try:
        csv.reader([], delimiter=delimiter)
    except (TypeError, ValueError) as error:  # no character, or one that no file can have
        logger.debug("%s is not read, its delimiter is %r: %s", path, delimiter, error)
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(rows, [])]
            values_of: list[dict[str, None]] = [{} for _ in header]
            for row in islice(rows, _MAX_ROWS):
                for values, cell in zip(values_of, row, strict=False):
                    if cell.strip() and len(values) <= _MAX_VALUES:
                        values[cell.strip()] = None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        logger.debug("%s cannot be read as CSV: %s", path, error)
        return {}
    return {
        name: tuple(values) if _are_categories(values) else ()
        for name, values in zip(header, values_of, strict=True)
    }


def _are_categories(values: dict[str, None]) -> bool:
    return len(values) <= _MAX_VALUES and all(len(value) <= _MAX_VALUE_CHARS for value in values)
