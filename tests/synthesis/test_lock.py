"""The file that says which texts are ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import ruamel.yaml

from dbt_osmosis_llm.config import SettingsError
from dbt_osmosis_llm.evidence.fingerprint import Fingerprint, text_hash
from dbt_osmosis_llm.synthesis.lock import LOCK_NAME, LockEntry, LockFile

FOUND = Fingerprint("aa", "bb", "cc", "sum(price)", "numeric")


def entry(text: str, date: str = "2026-11-21") -> LockEntry:
    return LockEntry.of(text, FOUND, model="gpt-6-luna", prompts="ff", date=date)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / LOCK_NAME


def written(path: Path, *keys: tuple[str, str]) -> str:
    lock = LockFile(path)
    for node_id, column in keys:
        lock.put(node_id, column, entry(f"{node_id} {column}"))
    lock.write()
    return path.read_text("utf-8")


def test_it_is_yaml_with_a_sorted_line_for_each_text(path: Path) -> None:
    text = written(path, ("model.b", "x"), ("model.a", "yes"), ("model.a", ""), ("model.a", "Ö 1"))
    loaded = ruamel.yaml.YAML(typ="safe").load(text)
    assert list(loaded["nodes"]) == ["model.a", "model.b"]
    assert list(loaded["nodes"]["model.a"]) == ["", "yes", "Ö 1"]
    assert loaded["nodes"]["model.b"]["x"] == {
        "text": text_hash("model.b x"),
        "evidence": "aa.bb.cc",
        "expression": "sum(price)",
        "type": "numeric",
        "model": "gpt-6-luna",
        "prompts": "ff",
        "date": "2026-11-21",
    }


def test_it_reads_what_it_wrote(path: Path) -> None:
    keys = [("model.a", ""), ("model.a", "on"), ("model.a", 'say "x": {y}'), ("source.b.c", "d")]
    written(path, *keys)
    lock = LockFile(path)
    assert sorted(lock) == sorted(keys)
    for node_id, column in keys:
        assert lock.ours(node_id, column, f"{node_id}  {column}\n") == entry(f"{node_id} {column}")


def test_a_text_that_was_edited_is_not_ours(path: Path) -> None:
    written(path, ("model.a", "x"))
    lock = LockFile(path)
    assert lock.ours("model.a", "x", "Another text.") is None
    assert lock.ours("model.a", "x", "") is None
    assert lock.ours("model.a", "y", "model.a x") is None


def test_a_change_changes_its_line_alone(path: Path) -> None:
    before = written(path, ("model.a", "x"), ("model.a", "b"), ("model.b", "x")).splitlines()
    lock = LockFile(path)
    lock.put("model.a", "b", entry("New."))
    lock.put("model.b", "x", entry("model.b x", date="2027-01-01"))  # nothing but the day
    lock.write()
    after = path.read_text("utf-8").splitlines()
    assert [old for old, new in zip(before, after, strict=True) if old != new] == [
        line for line in before if line.startswith("    b:")
    ]


def test_a_newer_file_is_neither_read_nor_replaced(path: Path) -> None:
    text = written(path, ("model.a", "x")).replace("version: 1", "version: 2")
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=r"is of version 2; .* Upgrade"):
        LockFile(path)
    assert path.read_text("utf-8") == text


def test_nothing_new_writes_nothing(path: Path) -> None:
    LockFile(path).write()
    assert not path.exists()


def test_two_writers_keep_what_the_other_wrote(path: Path) -> None:
    one, other = LockFile(path), LockFile(path)
    one.put("model.a", "x", entry("One."))
    other.put("model.b", "x", entry("Other."))
    one.write()
    other.write()
    assert sorted(LockFile(path)) == [("model.a", "x"), ("model.b", "x")]


def test_dropped_texts_and_empty_nodes_are_gone(path: Path) -> None:
    written(path, ("model.a", "x"), ("model.b", "x"))
    lock = LockFile(path)
    lock.drop("model.a", "x")
    lock.drop("model.a", "never there")
    lock.write()
    assert "model.a" not in path.read_text("utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        "<<<<<<< HEAD\n",
        "=======\n>>>>>>> branch\n",
        "    z: {not json}\n",
        '    z: {"text": 1, "unknown": 2}\n',
        "    z: []\n",
        "\t\n",
        "model.c:\n",
        "\x00\n",
    ],
)
def test_what_is_no_entry_says_nothing(path: Path, damage: str) -> None:
    lines = written(path, ("model.a", "x"), ("model.a", "y")).splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], damage, lines[-1]]), "utf-8")
    lock = LockFile(path)
    assert sorted(lock) == [("model.a", "x"), ("model.a", "y")]
    assert lock.ours("model.a", "y", "model.a y")


def test_a_file_that_cannot_be_read_makes_all_texts_a_persons(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    assert list(LockFile(path)) == []
    assert list(LockFile(path.parent)) == []
    assert list(LockFile()) == []
