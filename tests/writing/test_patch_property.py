"""Whatever a schema file looks like and whatever text it gets: all other lines stay."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import HealthCheck, event, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dbt_osmosis_llm.writing.patch import patched
from tests.properties import examples
from tests.writing.yaml_files import File, Owner, files, new_texts


class Editor:
    """Draws changes of a file's data; `touched` are the paths of the lines that may change."""

    def __init__(self, draw: st.DrawFn, data: Any) -> None:
        self.draw = draw
        self.data = data
        self.touched: set[Owner] = set()
        self.removes = False

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    def describe(self, entry: dict[str, Any], owner: Owner) -> None:
        if self.chance(2):
            entry["description"] = self.draw(new_texts())
            self.touched |= {(*owner, "description"), (*owner, "flow"), ("alias",)}
        if self.chance(4):
            entry["data_type"] = self.draw(st.sampled_from(["integer", "numeric(1, 2)", "date"]))
            self.touched |= {(*owner, "data_type"), (*owner, "flow")}
        for key in ("tests", "tags"):
            if isinstance(entry.get(key), list) and self.chance(4):
                entry[key].insert(self.draw(st.integers(0, len(entry[key]))), "new")
                if len(entry[key]) > 2 and self.chance(2):
                    del entry[key][0]
                self.touched.add((*owner, key))

    def new(self, name: str) -> dict[str, Any]:
        item: dict[str, Any] = {"name": name}
        if self.chance(2):
            item["description"] = self.draw(new_texts())
        if self.chance(2):
            item["data_type"] = "integer"
        return item

    def insert(self, items: list[Any], item: Any) -> None:
        items.insert(self.draw(st.integers(0, len(items))), item)

    def change_columns(self, model: dict[str, Any], owner: Owner) -> None:
        columns = model.get("columns")
        for index, column in enumerate(columns or []):
            self.describe(column, (*owner, f"c{index}"))
        if "columns" in model and self.chance(2):
            columns = model["columns"] = columns or []
            self.touched.add((*owner, "columns"))
            for name in ("n0", "n1")[: self.draw(st.integers(1, 2))]:
                self.insert(columns, self.new(name))
        elif "columns" not in model and self.chance(4):
            model["columns"] = [self.new("n0")]
        if columns and self.chance(3):
            gone = columns.pop(self.draw(st.integers(0, len(columns) - 1)))
            self.touched.add((*owner, gone["name"]))
            self.removes = True
            if not columns:
                self.touched.add((*owner, "columns:"))

    def change(self) -> None:
        for section in ("models", "seeds"):
            for model in self.data.get(section, []):
                self.describe(model, (model["name"],))
                self.change_columns(model, (model["name"],))
        models = self.data["models"]
        if self.chance(4):
            self.insert(models, {**self.new("n"), "columns": [self.new("n0"), self.new("n1")]})
        if len(models) > 1 and self.chance(5):
            gone = models.pop(self.draw(st.integers(0, len(models) - 1)))
            self.touched |= {(gone["name"],), ("alias",)}
            self.removes = True
        if self.chance(8):
            self.data["sources"] = [{"name": "s", "tables": [self.new("t")]}]
        if "seeds" in self.data and self.chance(8):
            del self.data["seeds"]
            self.touched |= {("m10",), ("seeds",), ("alias",)}
            self.removes = True

    def stays(self, line: str, owner: Owner) -> bool:
        """Tell whether a line must be in the changed file; blank ones go with what they part."""
        if self.removes and not line.strip():
            return False
        return not any(owner[: len(path)] == path for path in self.touched)


@st.composite
def changed_files(draw: st.DrawFn) -> tuple[File, Editor]:
    file = draw(files())
    data = json.loads(json.dumps(YAML(typ="safe", pure=True).load(file.text)))
    editor = Editor(draw, data)
    editor.change()
    return file, editor


def plain(data: Any) -> Any:
    return json.loads(json.dumps(data))


def lost(lines: list[str], text: str) -> str | None:
    """Return the first of some lines that a text does not have, behind those before it."""
    rest = iter([line.removesuffix("\r") for line in text.split("\n")])
    return next((line for line in lines if line not in rest), None)


def texts(data: Any) -> Any:
    """Return the descriptions in a file, with the name of what they describe."""
    if isinstance(data, list):
        return [texts(item) for item in data]
    if isinstance(data, dict):
        kept = ("name", "description", "columns", "models", "seeds", "sources", "tables")
        return {key: texts(value) for key, value in data.items() if key in kept}
    return data


@examples(80, suppress_health_check=list(HealthCheck))
@given(changed_files())
def test_everything_else_stays(drawn: tuple[File, Editor]) -> None:
    file, editor = drawn
    text, wanted = file.text, editor.data
    assert patched(text, YAML().load(text)) == text
    before = json.dumps(wanted)
    new = patched(text, wanted)
    assert json.dumps(wanted) == before
    assert plain(YAML(typ="safe", pure=True).load(new)) == wanted
    assert plain(YAML().load(new)) == wanted
    assert texts(yaml.safe_load(new)) == texts(wanted)
    assert patched(new, wanted) == new
    if not file.ends:  # a block there does not end its last line, and says so once lines follow
        editor.touched.add(file.lines[-1][1] or ("no owner",))
    lines = [line for line, owner in file.lines if editor.stays(line, owner)]
    lines[:1] = [file.start + lines[0]] if file.lines[0][0] == lines[0] else lines[:1]
    missing = lost(lines, new)
    assert missing is None, missing
    assert new.endswith("\n") == text.endswith("\n")
    if file.newline == "\r\n":
        assert new.count("\n") == new.count("\r\n")
    event("anchors" if any(owner == ("alias",) for _, owner in file.lines) else "no anchors")
