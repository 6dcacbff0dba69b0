"""Generates small dbt projects: tables with known lineage, YAML in many shapes, host options.

A project is plain data that comes from one `random.Random`: of a seed in a long run, of Hypothesis
in a test. What it looks like on disk follows from the data alone, so that parts can be taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

from tests.differential.options import Option, draw_options

KNOWN_OPEN: dict[str, str] = {
    "quotes": "names that end in quotes lose them",
}
"""Shapes that are left out because of a rule that is not done yet, with the reason."""

KNOWN_OPEN_RULES: dict[str, str] = {}
"""Rules whose faults are known, with the reason; a long run counts them and goes on."""

T = TypeVar("T")
Kind = Literal["source", "seed", "model", "ephemeral"]
Made = Literal["leaf", "copy", "computed"]

_TOKEN = re.compile(r"tok([a-z]+)kot")
_DOC = re.compile(r"doc\(\s*['\"](\w+)['\"]\s*\)")
PLACEHOLDERS = (
    "",
    "Pending further documentation",
    "No description for this column",
    "Not documented",
    "Undefined",
)


def is_open(shape: str) -> bool:
    """Tell whether a shape is left out."""
    return shape in KNOWN_OPEN


def token(number: int) -> str:
    """Return a word that no check of texts takes for a figure or a name."""
    letters = ""
    while True:
        number, rest = divmod(number, 26)
        letters = chr(ord("a") + rest) + letters
        if not number:
            return f"tok{letters}kot"


class Tokens:
    """The words that tell texts apart, each with whose text it is."""

    def __init__(self) -> None:
        self._by_subject: dict[tuple[str, ...], str] = {}
        self._also: list[tuple[str, tuple[str, str]]] = []

    def of(self, *subject: str) -> str:
        """Return the word for a subject, e.g. ``"asked", table, column``."""
        return self._by_subject.setdefault(subject, token(len(self._by_subject)))

    def also(self, old: tuple[str, str], new: tuple[str, str]) -> None:
        """Say that the words of one table and column are right at another one, too."""
        # Asked for under the name that the YAML had, which options may spell in another case.
        old = old[0], old[1].lower()
        self._also += [(w, new) for w, (t, name) in self.places() if (t, name.lower()) == old]

    def also_word(self, word: str, place: tuple[str, str]) -> None:
        self._also.append((word, place))

    def places(self) -> list[tuple[str, tuple[str, str]]]:
        """Return each word with each table and column that it is about."""
        own = [(word, (s[-2], s[-1])) for s, word in self._by_subject.items()]
        blocks = [(f"doc:{s[1]}", (s[-2], s[-1])) for s in self._by_subject if s[0] == "doc"]
        return [*own, *blocks, *self._also]

    def subjects(self) -> dict[str, tuple[str, ...]]:
        return {word: subject for subject, word in self._by_subject.items()}


def tokens_in(text: str) -> set[str]:
    """Return the words of a text that say whose it is; a docs block stands for its own."""
    return {match.group(0) for match in _TOKEN.finditer(text)} | {
        f"doc:{match.group(1)}" for match in _DOC.finditer(text)
    }


@dataclass
class Column:
    """A column as the warehouse has it."""

    name: str
    made: Made = "leaf"
    origins: tuple[tuple[str, str], ...] = ()
    """Table and column of each branch that it is a copy in."""
    type: str = "integer"


@dataclass
class Listed:
    """A column as a YAML file lists it."""

    name: str
    text: str | None = None
    """None: no key; else the description, be it a placeholder."""
    style: str = "plain"
    extras: list[str] = field(default_factory=list)
    """Lines of other keys."""
    comment: str = ""
    order: Literal["text", "extras", "text_before_name"] = "text"
    """What comes first after the name, or before it."""
    flow: bool = False
    merges: bool = False
    """Whether it takes keys of the file's anchor ``common``."""


@dataclass
class Entry:
    """What a YAML file says of a table."""

    text: str | None = None
    style: str = "plain"
    columns: list[Listed] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    comment: str = ""
    anchor: str = ""
    """Name that its list of columns has for other entries."""
    alias: str = ""
    """Name of the list of columns that it shares."""


@dataclass
class Table:
    name: str
    kind: Kind
    columns: list[Column]
    sql: str = ""
    reads: list[str] = field(default_factory=list)
    entry: Entry | None = None
    file: str = ""
    """YAML file of its entry, where it has one."""
    versions: Literal["", "bare", "include", "listed"] = ""
    """How its second version says its columns, which are those of the first and ``extra``."""

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name.lower() == name.lower()), None)


@dataclass
class File:
    path: str
    comment: str = ""
    crlf: bool = False
    indented: bool = True
    """Whether dashes stand further right than their key."""
    blank_lines: bool = False
    version: bool = True
    final_newline: bool = True
    document_mark: bool = False
    trailing_blanks: bool = False


@dataclass
class Project:
    tables: list[Table]
    files: dict[str, File]
    options: list[Option]
    tokens: Tokens
    docs: dict[str, str] = field(default_factory=dict)
    nulls: int = 0
    """Every so many columns are answered null; 0: none."""
    path_pattern: str = "_{model}.yml"
    edits: list[str] = field(default_factory=list)
    refresh: bool = False
    kill_at: int = 0
    """Request during which a first run is killed; 0: none is."""
    edit_seed: int = 0
    full_parse: bool = False
    """Whether the first run finds nothing that dbt has parsed before."""

    def table(self, name: str) -> Table | None:
        return next((t for t in self.tables if t.name.lower() == name.lower()), None)

    def has(self, option: str) -> bool:
        return any(o.name == option for o in self.options)


PLAIN_NAMES = (
    "id", "amount", "status", "country", "note", "label", "quantity", "kind", "price", "region",
)  # fmt: skip
ODD_NAMES = (
    "no", "on", "y", "1e3", "null", "true", "123", "~", "Order Id", "MixedCase", "UPPER", "select",
    "größe", "a: b", "#hash", "it's", "-x", "{x}", "*star", "&amp", "!bang", "0x1F", "1_000",
    "2024-01-01", "per%cent", "[b]", "@at", 'say "so"', "back\\slash", "column_1", "description",
)  # fmt: skip
_TYPES = ("integer", "varchar", "decimal(12,2)", "date", "boolean")
_VALUES = {
    "integer": "1",
    "varchar": "'x'",
    "decimal(12,2)": "cast(1.5 as decimal(12,2))",
    "date": "date '2024-01-01'",
    "boolean": "true",
}
_NOUNS = (
    "orders", "tickets", "clients", "payments", "visits", "parcels", "meters", "rooms", "trips",
)  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Generator:
    """Draws one project."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tokens = Tokens()
        self._tables: list[Table] = []
        self._files: dict[str, File] = {}
        self._docs: dict[str, str] = {}
        self._humans = 0

    def project(self) -> Project:
        random = self._random
        names = list(_NOUNS)
        for number in range(random.randint(2, 8)):
            noun = names[number]
            roots = [t for t in self._tables if t.kind != "ephemeral"]
            if not roots or (number == 1 and self._one_in(2)) or self._one_in(5):
                self._tables.append(self._root(noun))
            else:
                self._tables.append(self._model(noun))
        if not any(t.kind == "model" for t in self._tables):
            self._tables.append(self._model(names[-1]))
        self._list_in_files()
        options = draw_options(random)
        is_versioned = any(t.versions for t in self._tables)
        if is_versioned and is_open("versions in another case"):
            options = [o for o in options if not o.name.startswith("output-to-")]
        if is_open("force inherit"):
            options = [o for o in options if o.name != "force-inherit-descriptions"]
        return Project(
            self._tables,
            self._files,
            options,
            self._tokens,
            self._docs,
            nulls=0
            if is_versioned and is_open("null of versions")
            else random.choice([0, 0, 0, 3]),
            path_pattern=random.choice(["_{model}.yml", "_{model}.yml", "schema.yml"]),
            edits=random.sample(EDITS, random.choice([0, 0, 1, 2])),
            refresh=self._one_in(3),
            kill_at=random.choice([0] * 9 + [1, 2, 3]),
            edit_seed=random.randrange(1000),
            full_parse=self._one_in(4),
        )

    def _one_in(self, count: int) -> bool:
        return self._random.randrange(count) == 0

    def _some(self, items: Sequence[T], least: int = 1) -> list[T]:
        """Return some of the items, in their order."""
        count = self._random.randint(min(least, len(items)), len(items))
        chosen = sorted(self._random.sample(range(len(items)), count))
        return [items[index] for index in chosen]

    # Tables

    def _new_name(self, taken: Sequence[str]) -> str:
        taken_lower = {name.lower() for name in taken}
        pool = ODD_NAMES if self._one_in(6) else PLAIN_NAMES
        free = [n for n in pool if n.lower() not in taken_lower]
        if is_open("quotes"):
            free = [n for n in free if not n.endswith('"')]
        return self._random.choice(free or [f"extra_{len(taken)}"])

    def _root(self, noun: str) -> Table:
        kind: Kind = self._random.choice(["source", "source", "seed", "model"])
        columns: list[Column] = []
        for _ in range(self._random.randint(1, 5)):
            name = self._new_name([c.name for c in columns])
            if kind == "seed" and name != name.strip('"\\'):
                continue
            columns.append(Column(name, type=self._random.choice(_TYPES)))
        if kind != "seed" and self._one_in(6):
            columns += [
                Column("position", type="struct(lat integer, lon integer)"),
                Column("position.lat"),
                Column("position.lon"),
            ]
        prefix = {"source": "raw_", "seed": "seed_", "model": "base_"}[kind]
        table = Table(prefix + noun, kind, columns)
        table.sql = f"select {', '.join(self._literals(columns))}"
        return table

    def _literals(self, columns: Sequence[Column]) -> Iterator[str]:
        for column in columns:
            if "." in column.name:
                continue
            value = _VALUES.get(column.type, "{'lat': 1, 'lon': 2}")
            yield f"{value} as {self._sql_name(column.name)}"

    def _sql_name(self, name: str) -> str:
        plain = re.fullmatch(r"[a-z_]+", name) and name in PLAIN_NAMES
        return name if plain and not self._one_in(4) else quoted(name)

    def _relation(self, table: Table) -> str:
        if table.kind == "source":
            return f"{{{{ source('raw', '{table.name}') }}}}"
        return f"{{{{ ref('{table.name}') }}}}"

    def _model(self, noun: str) -> Table:
        parent = self._random.choice(self._tables)
        others = [t for t in self._tables if t is not parent]
        forms = ["list", "list", "list", "star", "star_and_more", "group"]
        if others:
            forms += ["join", "join", "union"]
        form = self._random.choice(forms)
        kind: Kind = "ephemeral" if self._one_in(8) else "model"
        prefix = self._random.choice(
            ["stg_", "int_", "fct_", "Dim_"] if kind == "model" else ["eph_"]
        )
        table = Table(prefix + noun, kind, [])
        if form == "join":
            self._join(table, parent, self._random.choice(others))
        elif form == "union":
            self._union(table, parent, self._random.choice(others))
        elif form == "group":
            self._group(table, parent)
        elif form == "list":
            self._list(table, parent)
        else:
            self._star(table, parent, form == "star_and_more")
        return table

    def _copies(self, parent: Table, column: Column, name: str) -> list[Column]:
        """Return a column that is another one, with the fields of a struct."""
        return [
            Column(name + c.name[len(column.name) :], "copy", ((parent.name, c.name),), type=c.type)
            for c in parent.columns
            if c is column or c.name.startswith(f"{column.name}.")
        ]

    def _fields(self, parent: Table) -> list[Column]:
        """Return the columns that a SELECT can name alone."""
        return [c for c in parent.columns if "." not in c.name]

    def _computed(self, expression: str) -> str:
        text = f"cast({expression} as varchar)"
        return self._random.choice(
            [
                f"upper({text})",
                f"case when {expression} is null then 'none' else 'some' end",
                f"length({text}) + 1",
                f"{text} || '!'",
                f"max({text}) over ()",
                f"coalesce({text}, '-')",
            ]
        )

    def _select_item(self, parent: Table, column: Column, taken: list[Column], alias: str) -> str:
        """Return one item of a SELECT list, and note what it is made of."""
        names = [c.name for c in taken]
        source = f"{alias}{self._sql_name(column.name)}"
        way = self._random.choice(["pass", "pass", "pass", "rename", "cast", "anew", "computed"])
        keeps_name = way in ("pass", "cast", "anew")
        if keeps_name and column.name.lower() in {n.lower() for n in names}:
            way = "rename"
        name = column.name if way in ("pass", "cast", "anew") else self._new_name(names)
        if column.type.startswith("struct") and self._one_in(3):
            part = self._random.choice(["lat", "lon"])
            new = self._new_name(names)
            origin = (parent.name, f"{column.name}.{part}")
            taken.append(Column(new, "copy", (origin,)))
            return f"{source}.{part} as {self._sql_name(new)}"
        if column.type.startswith("struct") and way != "pass":
            way = "rename"
            name = column.name if column.name.lower() not in {n.lower() for n in names} else name
        if way in ("pass", "rename"):
            taken += self._copies(parent, column, name)
            needs_alias = way == "rename" or self._one_in(4)
            return f"{source} as {self._sql_name(name)}" if needs_alias else source
        if way == "cast":
            taken.append(Column(name, "copy", ((parent.name, column.name),), type="varchar"))
            return f"cast({source} as varchar) as {self._sql_name(name)}"
        taken.append(Column(name, "computed", type="varchar"))
        return f"{self._computed(source)} as {self._sql_name(name)}"

    def _list(self, table: Table, parent: Table) -> None:
        alias = self._random.choice(["", "", "p."])
        items = [
            self._select_item(parent, column, table.columns, alias)
            for column in self._some(self._fields(parent))
        ]
        if self._one_in(4):
            items.append(self._literal(table))
        body = f"select {', '.join(items)} from "
        relation = self._relation(parent)
        table.reads = [parent.name]
        if self._one_in(3):
            inner = f"with p as (select * from {relation})"
            table.sql = f"{inner} {body}p"
        else:
            table.sql = f"{body}{relation}{' as p' if alias else ''}"
        if self._one_in(4):
            table.sql = f"with final as ({table.sql}) select * from final"

    def _literal(self, table: Table) -> str:
        name = self._new_name([c.name for c in table.columns])
        table.columns.append(Column(name, "computed"))
        return f"{self._random.choice(['1', 'now()', 'current_date'])} as {self._sql_name(name)}"

    def _star(self, table: Table, parent: Table, more: bool) -> None:
        fields = self._fields(parent)
        way = self._random.choice(["", "", "exclude", "replace", "qualified"])
        changed = self._random.choice(fields)
        table.reads = [parent.name]
        star = "p.*" if way == "qualified" else "*"
        if way == "exclude" and len(fields) > 1:
            star = f"* exclude ({quoted(changed.name)})"
            fields = [c for c in fields if c is not changed]
        is_replaced = way == "replace" and not changed.type.startswith("struct")
        if is_replaced:
            name = quoted(changed.name)
            star = f"* replace (upper(cast({name} as varchar)) as {name})"
        for column in fields:
            if is_replaced and column is changed:
                table.columns.append(Column(column.name, "computed", type="varchar"))
            else:
                table.columns += self._copies(parent, column, column.name)
        items = [star]
        if more:
            items.append(self._literal(table))
        table.sql = f"select {', '.join(items)} from {self._relation(parent)} as p"
        if self._one_in(5):
            table.sql += " where 1 = 1 limit 10"

    def _group(self, table: Table, parent: Table) -> None:
        fields = [c for c in self._fields(parent) if not c.type.startswith("struct")]
        keys = self._some(fields)
        items = []
        for key in keys:
            table.columns += self._copies(parent, key, key.name)
            items.append(self._sql_name(key.name))
        for column in fields:
            if column not in keys:
                taken = [*(c.name for c in table.columns), *(c.name for c in fields)]
                keeps = self._one_in(2)
                name = column.name if keeps else self._new_name(taken)
                if name.lower() in {c.name.lower() for c in table.columns}:
                    continue
                function = self._random.choice(["max", "min", "count"])
                made_type = "integer" if function == "count" else column.type
                table.columns.append(Column(name, "computed", type=made_type))
                items.append(f"{function}({quoted(column.name)}) as {self._sql_name(name)}")
        if not any(c.name.lower() == "row_count" for c in table.columns):
            table.columns.append(Column("row_count", "computed"))
            items.append("count(*) as row_count")
        table.reads = [parent.name]
        by = ", ".join(str(index + 1) for index in range(len(keys)))
        table.sql = f"select {', '.join(items)} from {self._relation(parent)} group by {by}"

    def _join(self, table: Table, left: Table, right: Table) -> None:
        lefts, rights = self._fields(left), self._fields(right)
        by_name = {c.name.lower(): c for c in rights}
        shared = [c for c in lefts if c.name.lower() in by_name and c.type[:6] != "struct"]
        if shared:
            key = self._random.choice(shared)
            other = by_name[key.name.lower()]
        else:
            key, other = lefts[0], rights[0]
        items = [
            self._select_item(left, column, table.columns, "l.") for column in self._some(lefts)
        ]
        items += [
            self._select_item(right, column, table.columns, "r.")
            for column in self._some(rights)
            if column.name.lower() not in {c.name.lower() for c in table.columns} or self._one_in(3)
        ]
        how = self._random.choice(["join", "left join", "inner join", "full outer join"])
        table.reads = [left.name, right.name]
        on = f"cast(l.{quoted(key.name)} as varchar) = cast(r.{quoted(other.name)} as varchar)"
        if key.type == other.type and self._one_in(2):
            on = f"l.{quoted(key.name)} = r.{quoted(other.name)}"
        joined = f"{self._relation(left)} l {how} {self._relation(right)} as r on {on}"
        if self._one_in(4):
            joined = (
                f"(select * from {self._relation(left)}) l {how} "
                f"(select * from {self._relation(right)}) as r on {on}"
            )
        table.sql = f"select {', '.join(items)} from {joined}"

    def _union(self, table: Table, first: Table, second: Table) -> None:
        firsts = [c for c in self._fields(first) if c.type[:6] != "struct"]
        seconds = [c for c in self._fields(second) if c.type[:6] != "struct"]
        by_name = {c.name.lower(): c for c in seconds}
        branches: tuple[list[str], list[str]] = ([], [])
        free = list(seconds)
        for column in firsts:
            partner = by_name.get(column.name.lower())
            if partner not in free:
                partner = free[0] if free and self._one_in(2) else None
            if partner is not None:
                free.remove(partner)
            name = self._sql_name(column.name)
            branches[0].append(f"cast({quoted(column.name)} as varchar) as {name}")
            if partner is None:
                branches[1].append("null")
                # The other branch has no value at all: nothing disagrees.
                origins: tuple[tuple[str, str], ...] = ((first.name, column.name),)
            else:
                branches[1].append(f"cast({quoted(partner.name)} as varchar)")
                origins = ((first.name, column.name), (second.name, partner.name))
            table.columns.append(Column(column.name, "copy", origins, type="varchar"))
        if not branches[0]:
            self._list(table, first)
            return
        table.reads = [first.name, second.name]
        table.sql = (
            f"select {', '.join(branches[0])} from {self._relation(first)} "
            f"union {self._random.choice(['all ', ''])}"
            f"select {', '.join(branches[1])} from {self._relation(second)}"
        )

    # YAML

    def _human(self, table: str, column: str) -> tuple[str, str]:
        """Return a text that a person wrote, and the style it is written in."""
        if self._one_in(8):
            name = f"block_{len(self._docs)}"
            self._docs[name] = f"Words of people {self._tokens.of('doc', name, table, column)}."
            return f'{{{{ doc("{name}") }}}}', "single"
        self._humans += 1
        word = self._tokens.of("human", str(self._humans), table, column)
        tail = self._random.choice(
            [".", ": with a colon.", " # no comment.", ' it\'s "so".', " → ünïcode ✓.", " 100 %."]
        )
        style = self._random.choice(
            ["plain", "single", "double", "folded", "literal", "lines", "folded_keep"]
        )
        if style == "plain" and (": " in tail or " #" in tail):
            style = "single"
        if style == "lines":
            tail = "."
        return f"Words of people {word}{tail}", style

    def _list_in_files(self) -> None:
        one_file = self._one_in(2)
        source_file = self._random.choice(["models/sources.yml", "models/schema.yml"])
        for table in self._tables:
            if table.kind == "source":
                path = source_file
            else:
                if self._one_in(4):
                    continue  # no entry
                folder = "seeds" if table.kind == "seed" else "models"
                path = f"{folder}/schema.yml" if one_file else f"{folder}/_{table.name}.yml"
            table.file = path
            if path not in self._files:
                self._files[path] = self._file(path)
            table.entry = self._entry(table)
        self._share_lists()
        self._version_some()
        for table in self._tables:
            path = f"models/_{table.name}.yml"
            if table.entry is None and table.kind == "model" and self._one_in(3):
                self._files[path] = self._file(path)  # without an entry

    def _version_some(self) -> None:
        """Give a second version to models that nobody reads."""
        for table in self._tables:
            is_read = any(table.name in t.reads for t in self._tables)
            if is_read or table.kind != "model" or not table.entry:
                continue
            if self._one_in(6):
                if is_open("text of versions"):
                    table.entry.text, table.entry.style = self._human(table.name, "")
                table.versions = self._random.choice(["bare", "include", "listed"])
                table.columns.append(Column("extra", "computed"))

    def _share_lists(self) -> None:
        """Let tables that take all columns of another one in the same file share its list."""
        for table in self._tables:
            parent = next((t for t in self._tables if t.name in table.reads), None)
            if (
                parent is not None
                and parent.entry is not None
                and table.entry is not None
                and table.file == parent.file
                and parent.kind != "source"
                and parent.entry.columns
                and not parent.entry.alias
                and [c.name for c in table.columns] == [c.name for c in parent.columns]
                and all(c.made == "copy" for c in table.columns)
                and len(table.reads) == 1
                and self._one_in(2)
            ):
                parent.entry.anchor = table.entry.alias = f"columns_of_{parent.name}"
                table.entry.columns = []
                for word, (of, name) in self._tokens.places():
                    if of == parent.name and name:
                        self._tokens.also_word(word, (table.name, name))

    def _file(self, path: str) -> File:
        return File(
            path,
            comment=self._random.choice(["", "", "# Written by hand.\n# Two lines."]),
            crlf=self._one_in(8),
            indented=not self._one_in(4),
            blank_lines=self._one_in(3),
            version=not self._one_in(4),
            final_newline=not self._one_in(6),
            document_mark=self._one_in(8),
            trailing_blanks=self._one_in(10),
        )

    def _entry(self, table: Table) -> Entry:
        entry = Entry()
        if self._one_in(3):
            entry.text, entry.style = self._human(table.name, "")
        elif self._one_in(6):
            entry.text, entry.style = self._random.choice(PLACEHOLDERS), "double"
        if self._one_in(5):
            entry.comment = f"# about {table.name}"
        if self._one_in(5):
            entry.extras.append(self._random.choice(_TABLE_EXTRAS))
        listing = self._random.choice(["none", "some", "some", "all"])
        columns = [] if listing == "none" else table.columns
        if listing == "some":
            columns = self._some(columns)
        for column in columns:
            entry.columns.append(self._listed(table, column.name))
        if entry.columns and not is_open("ghost") and self._one_in(8):
            entry.columns.append(self._listed(table, "ghost"))
        if entry.columns and not is_open("twice") and self._one_in(10):
            again = self._random.choice(entry.columns).name
            entry.columns.append(self._listed(table, again))
            _without_doubled_tests(entry.columns)
        return entry

    def _listed(self, table: Table, name: str) -> Listed:
        written = name
        if not is_open("other case") and self._one_in(8):
            written = self._random.choice([name.upper(), name.lower()])
            if written.lower() != name.lower():  # ß and its like
                written = name
        listed = Listed(written)
        if self._one_in(3):
            listed.text, listed.style = self._human(table.name, name)
        elif self._one_in(6):
            listed.text, listed.style = self._random.choice(PLACEHOLDERS), "double"
        if self._one_in(4):
            listed.extras.append(self._random.choice(_COLUMN_EXTRAS))
        if self._one_in(6):
            listed.comment = (
                f"# about {table.name} {len(table.entry.columns) if table.entry else 0}"
            )
        listed.order = self._random.choice(["text", "text", "extras", "text_before_name"])
        listed.flow = self._one_in(10) and not listed.extras
        listed.merges = not listed.extras and not listed.flow and self._one_in(12)
        return listed


def _without_doubled_tests(columns: list[Listed]) -> None:
    """Take the tests out of a last column that another entry of its name has: dbt refuses two."""
    *others, last = columns
    tested = {c.name for c in others if any("data_tests" in extra for extra in c.extras)}
    if last.name in tested:
        last.extras = [extra for extra in last.extras if "data_tests" not in extra]


_COLUMN_EXTRAS = (
    "data_tests:\n  - not_null",
    "data_tests: [not_null]",
    "quote: true",
    "data_type: integer",
    "config:\n  meta:\n    owner: finance  # who",
    "config: {meta: {owner: finance}}",
    "config:\n  tags: [pii]",
    "config:\n  tags:\n    - pii",
    "config:\n  meta:\n    zone: \"{{ env_var('ZONE_OF_HARNESS') }}\"",
)
RENDERED = "renderedvalue"
"""What that variable holds: it stands in no file, and nobody is told."""

_TABLE_EXTRAS = (
    "config:\n  meta:\n    owner: finance  # who",
    "config:\n  tags: [nightly]",
    "config: {meta: {owner: sales}}",
    "config:\n  meta:\n    zone: \"{{ env_var('ZONE_OF_HARNESS') }}\"",
)
EDITS = ["delete_text", "change_text", "rename_column", "add_column", "add_test"]
