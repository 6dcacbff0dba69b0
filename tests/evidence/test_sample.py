"""The values of a seed's columns: few and short, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt_osmosis_llm.evidence.sample import read_values


@pytest.mark.parametrize(
    ("text", "delimiter", "values"),
    [
        ("a,b\n1,x\n2,x\n", ",", {"a": ("1", "2"), "b": ("x",)}),
        ("a;b\n1; x \n;x\n", ";", {"a": ("1",), "b": ("x",)}),
        ("\ufeffa\n1\n", ",", {"a": ("1",)}),
        ('a,b\n"x,\ny",2\n', ",", {"a": ("x,\ny",), "b": ("2",)}),
        ("a,b\n1\n", ",", {"a": ("1",), "b": ()}),
        ("a\n" + "".join(f"{n}\n" for n in range(10)), ",", {"a": tuple("0123456789")}),
        ("a\n" + "".join(f"{n}\n" for n in range(11)), ",", {"a": ()}),
        (f"a\n{'x' * 40}\n", ",", {"a": ("x" * 40,)}),
        (f"a\nshort\n{'x' * 41}\n", ",", {"a": ()}),
        ("a\n" + "1\n" * 1000 + "2\n", ",", {"a": ("1",)}),
        ("a,a\n1,2\n", ",", {"a": ("2",)}),
        ("", ",", {}),
        ("a\n1\n", "", {}),
    ],
)
def test_few_short_values(
    tmp_path: Path, text: str, delimiter: str, values: dict[str, tuple[str, ...]]
) -> None:
    path = tmp_path / "seed.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_values(path, delimiter) == values


def test_a_file_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert read_values(tmp_path / "none.csv") == {}
    path = tmp_path / "latin.csv"
    path.write_bytes(b"a\n\xff\n")
    assert read_values(path) == {}
    path.write_bytes(b'a\n"' + b"x" * 200_000)
    assert read_values(path) == {}
