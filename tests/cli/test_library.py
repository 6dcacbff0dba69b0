"""A library documented as a whole: each of its models stands for a kind of column or table.

One run over the project, answered by `answer`. Then what was asked, what was taken over, and what
the prompts say of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_evidence import prompt_about
from tests.cli.test_explain import explain, explained
from tests.cli.test_provenance import changed, check, edit, listed
from tests.conftest import Shop, build_project, copy_of
from tests.server import LoopbackServer, Recorded, Reply, fill

TEXTS = {
    "raw.people.email": "E-mail address, named `email` downstream.",
    "raw.people.joined_at": "Time at which the person joined, empty for who only works here.",
    "raw.people.city": "Town where the person lives.",
    "raw.people.deleted_at": "Time at which the person left, empty for members.",
    "raw.books.id": "Number of the book.",
    "raw.books.title": "Title as printed on the cover.",
    "raw.books.price_cents": "Price in cents when the book was bought.",
    "raw.books.category": "Shelf category, passed on downstream.",
    "raw.loans.id": "Number of the loan.",
    "raw.loans.book_id": "Book that was lent.",
    "raw.loans.borrower_id": "Person who took the book home.",
    "raw.loans.librarian_id": "Person at the desk, empty for the machine.",
    "raw.loans.returned_at": "Time at which the book came back, empty while it is out.",
    "raw.loans.priority": "Priority of the wish: 1 urgent, 2 normal, low else.",
    "raw.loans.renewed_from_id": "Loan that this one renews.",
    "raw.tickets.id": "Number of the ticket.",
    "raw.tickets.person_id": "Person who wrote in.",
    "raw.tickets.kind": "Kind of ticket, question or incident.",
    "raw.tickets.status": "How far the ticket is, from open to closed.",
    "raw.tickets.created_at": "Time at which somebody wrote in.",
    "raw.tickets.closed_at": "Time at which the ticket was closed.",
    "raw.fines.id": "Number of the fine.",
    "raw.fines.loan_id": "Loan that came back too late.",
    "raw.fines.paid_at": "Time of the payment.",
    "raw.events.id": "Number of the event.",
    "raw.events.person_id": "Person who was logged in.",
    "stg_people.email": "E-mail address of the person.",
    "stg_members.email": "E-mail address of the member.",
    "stg_members.joined_on": "Date on which the member joined.",
    "stg_books.category": "Shelf category.",
    "stg_books.price": "Price when the book was bought.",
    "stg_tickets.is_open": "Whether somebody still has to answer.",
}
BY_HAND = {
    "raw.people.id": "Primary key of this table.",
    "raw.people.name": "Name of the person.",
    "raw.books.updated_at": "When the record was last updated.",
    "raw.loans.opened_at": "Timestamp (UTC) when the loan was opened.",
    "raw.tickets.subject": "What the ticket (question or incident) is about.",
    "stg_books.title": "Title of the book whose price is in `price`.",
    "stg_loans.borrower_id": "Person who borrowed the book.",
    "stg_tickets.is_incident": "Whether the ticket is an incident, as opposed to a"
    " `question_text`.",
}
"""What stands in the project's YAML from the start."""

ASKED = {
    "raw.people": "email joined_at city deleted_at",
    "raw.books": "id title price_cents category",
    "raw.loans": "id book_id borrower_id librarian_id returned_at priority renewed_from_id",
    "raw.tickets": "id person_id kind status created_at closed_at is_deleted",
    "raw.fines": "id loan_id amount_cents paid_at",
    "raw.events": "id person_id properties",
    "stg_people": "email joined_on branch",
    "stg_members": "email joined_on",
    "stg_books": "price category catalog_path",
    "stg_loans": "",
    "stg_loans_typed": "has_priority opened_on",
    "stg_tickets": "is_open",
    "stg_fines": "amount",
    "stg_events": "device staged_at",
    "int_latest_loan": "",
    "int_ticket_confirmations": "sender_id recipient_id",
    "fct_loans": "borrower_name librarian_name borrower_city title book_updated_at urgency",
    "fct_tickets": "reporter_id reporter_name",
    "fct_renewals": "previous_loan_id previous_opened_at days_since_previous",
    "fct_incidents": "kind is_incident subject",
    "fct_ticket_counts": "question_count incident_count",
    "fct_calendar_loans": "opened_on returned_on",
    "fct_open_loans": "book_title",
    "dim_members": "loan_count last_opened_at fine_count fine_total open_incident_count is_active",
    "dim_dates": "date_day month_start is_weekend",
    "dim_borrowers": "last_loan_id last_opened_at",
    "dim_books": "open_loan_count",
}
"""What needs a text of its own in each table."""

TAKEN_OVER = {
    "stg_people": "person_id=raw.people.id name=raw.people.name city=raw.people.city",
    "stg_members": "member_id=raw.people.id name=raw.people.name city=raw.people.city"
    " deleted_at=raw.people.deleted_at",
    "stg_books": "book_id=raw.books.id updated_at=raw.books.updated_at",
    "stg_loans": "loan_id=raw.loans.id book_id=raw.loans.book_id"
    " librarian_id=raw.loans.librarian_id opened_at=raw.loans.opened_at"
    " returned_at=raw.loans.returned_at priority=raw.loans.priority"
    " renewed_from_id=raw.loans.renewed_from_id",
    "stg_loans_typed": "loan_key=raw.loans.id",
    "stg_tickets": "ticket_id=raw.tickets.id person_id=raw.tickets.person_id"
    " kind=raw.tickets.kind subject=raw.tickets.subject status=raw.tickets.status"
    " created_at=raw.tickets.created_at closed_at=raw.tickets.closed_at",
    "stg_fines": "fine_id=raw.fines.id loan_id=raw.fines.loan_id paid_at=raw.fines.paid_at",
    "stg_events": "event_id=raw.events.id person_id=raw.events.person_id",
    "int_latest_loan": "loan_id=raw.loans.id borrower_id=stg_loans.borrower_id"
    " book_id=raw.loans.book_id opened_at=raw.loans.opened_at",
    "int_ticket_confirmations": "ticket_id=raw.tickets.id",
    "fct_loans": "loan_id=raw.loans.id book_id=raw.loans.book_id"
    " borrower_id=stg_loans.borrower_id librarian_id=raw.loans.librarian_id"
    " opened_at=raw.loans.opened_at returned_at=raw.loans.returned_at"
    " priority=raw.loans.priority renewed_from_id=raw.loans.renewed_from_id",
    "fct_tickets": "ticket_id=raw.tickets.id kind=raw.tickets.kind subject=raw.tickets.subject"
    " is_open=stg_tickets.is_open created_at=raw.tickets.created_at"
    " closed_at=raw.tickets.closed_at",
    "fct_renewals": "loan_id=raw.loans.id parent_loan_id=raw.loans.renewed_from_id",
    "fct_incidents": "ticket_id=raw.tickets.id person_id=raw.tickets.person_id"
    " status=raw.tickets.status created_at=raw.tickets.created_at",
    "fct_ticket_counts": "person_id=raw.tickets.person_id",
    "fct_calendar_loans": "loan_id=raw.loans.id",
    "fct_open_loans": "loan_id=raw.loans.id borrower_id=stg_loans.borrower_id"
    " opened_at=raw.loans.opened_at",
    "dim_members": "member_id=raw.people.id name=raw.people.name joined_on=stg_members.joined_on",
    "dim_borrowers": "borrower_id=raw.people.id name=raw.people.name",
    "dim_books": "book_id=raw.books.id title=stg_books.title category=stg_books.category"
    " price=stg_books.price",
}
"""The other columns, and where their texts begin."""

SOURCES = {
    "raw.loans.id": (
        "also in: stg_loans.loan_id, stg_loans_typed.loan_key, fct_calendar_loans.loan_id,"
        " fct_loans.loan_id and 3 more",
        "used in dim_members: joined with stg_fines.loan_id",
    ),
    "raw.loans.borrower_id": (
        "said of it as stg_loans.borrower_id: Person who borrowed the book.",
        "tested in stg_loans: found in stg_people.person_id",
    ),
    "raw.loans.librarian_id": ("also in: stg_loans, fct_loans",),
    "raw.loans.returned_at": ("used in dim_books: where stg_loans.returned_at IS NULL",),
    "raw.loans.priority": (
        "also in: stg_loans, fct_loans",
        "used in fct_loans.urgency: CASE WHEN stg_loans.priority = 1 THEN 'urgent'"
        " WHEN stg_loans.priority = 2 THEN 'normal' ELSE 'low' END",
    ),
    "raw.loans.renewed_from_id": ("also in: stg_loans, fct_loans, fct_renewals.parent_loan_id",),
    "raw.books.title": (
        "said of it as stg_books.title: Title of the book whose price is in `price`.",
    ),
    "raw.books.price_cents": ("used in stg_books.price: price_cents / 100.0",),
    "raw.people.joined_at": (
        "used in stg_members.joined_on: CAST(joined_at AS DATE)",
        "used in stg_members: where joined_at IS NOT NULL",
    ),
    "raw.people.city": (
        "also in: stg_members, stg_people",
        "used in fct_loans.borrower_city: the same, of stg_people joined as borrower"
        " (loans.borrower_id = borrower.person_id)",
    ),
    "raw.people.deleted_at": ("used in dim_members: where stg_members.deleted_at IS NULL",),
    "raw.tickets.kind": (
        "also in: stg_tickets, fct_tickets",
        "used in stg_tickets.is_incident: kind = 'incident'",
        "used in fct_incidents: where kind = 'incident'",
    ),
    "raw.tickets.person_id": (
        "used in int_ticket_confirmations.sender_id: the same,"
        " `recipient_id` comes from the same column",
    ),
    "raw.tickets.status": (
        "also in: stg_tickets, fct_incidents",
        "used in stg_tickets.is_open:"
        " CASE WHEN status IN ('open', 'waiting') THEN TRUE ELSE FALSE END",
    ),
    "raw.tickets.is_deleted": ("used in stg_tickets: where NOT is_deleted",),
    "raw.fines.amount_cents": ("used in stg_fines.amount: amount_cents / 100.0",),
    "raw.events.properties": ("used in stg_events.device: properties ->> '$.device'",),
}

BORROWER = "of stg_people joined as borrower (loans.borrower_id = borrower.person_id)"
LIBRARIAN = "of stg_people joined as librarian (loans.librarian_id = librarian.person_id)"
REPORTER = "of stg_people joined as reporter (tickets.person_id = reporter.person_id)"
PREVIOUS = "of stg_loans joined as previous (loan.renewed_from_id = previous.loan_id)"
LATEST = "its name adds 'last', joined (people.person_id = latest.borrower_id)"
ROLES = {
    "fct_loans.borrower_name": ("stg_people.name", BORROWER),
    "fct_loans.librarian_name": ("stg_people.name", LIBRARIAN),
    "fct_loans.borrower_city": ("stg_people.city", BORROWER),
    "fct_tickets.reporter_id": ("stg_people.person_id", REPORTER),
    "fct_tickets.reporter_name": ("stg_people.name", REPORTER),
    "fct_renewals.previous_loan_id": ("stg_loans.loan_id", PREVIOUS),
    "fct_renewals.previous_opened_at": ("stg_loans.opened_at", PREVIOUS),
    "fct_calendar_loans.opened_on": (
        "dim_dates.date_day",
        "of dim_dates joined as opened (CAST(loans.opened_at AS DATE) = opened.date_day)",
    ),
    "fct_calendar_loans.returned_on": (
        "dim_dates.date_day",
        "of dim_dates joined as returned (CAST(loans.returned_at AS DATE) = returned.date_day)",
    ),
    "int_ticket_confirmations.sender_id": (
        "stg_tickets.person_id",
        "`recipient_id` comes from the same column",
    ),
    "int_ticket_confirmations.recipient_id": (
        "stg_tickets.person_id",
        "`sender_id` comes from the same column",
    ),
    "dim_borrowers.last_loan_id": ("int_latest_loan.loan_id", LATEST),
    "dim_borrowers.last_opened_at": ("int_latest_loan.opened_at", LATEST),
}

ONLY_INCIDENTS = "not in the same words: only rows where kind = 'incident'"
NOT_THE_SAME_WORDS = {
    # What the text speaks of is elsewhere.
    "stg_people.email": "not in the same words: it says 'downstream'",
    "stg_members.email": "not in the same words: it says 'downstream'",
    "stg_books.category": "not in the same words: it says 'downstream'",
    "fct_loans.book_updated_at": "not in the same words: it says 'the record', and these are other"
    " rows",
    # It names what is not here.
    "fct_loans.title": "not in the same words: it names `price`, which is no column here",
    "fct_open_loans.book_title": "not in the same words: it names `price`, which is no column here",
    # The table has other rows.
    "fct_incidents.kind": "here: always 'incident', by the filters",
    "fct_incidents.is_incident": ONLY_INCIDENTS,
    "fct_incidents.subject": ONLY_INCIDENTS,
    # Its values are of another type.
    "stg_people.joined_on": "not in the same words: cast to DATE",
    "stg_members.joined_on": "not in the same words: cast to DATE",
    "stg_loans_typed.opened_on": "not in the same words: cast to DATE",
    "stg_loans_typed.has_priority": "not in the same words: cast to BOOLEAN",
}

CONTEXTS = {
    "stg_tickets": ["only rows where NOT is_deleted", "left out of raw.tickets: is_deleted"],
    "stg_people": ["left out of raw.people: deleted_at"],
    "fct_incidents": ["only rows where kind = 'incident'"],
    "fct_ticket_counts": ["one row per person_id (unique, GROUP BY)"],
    "fct_renewals": [
        "- stg_loans as loan;"
        " inner join stg_loans as previous on loan.renewed_from_id = previous.loan_id",
    ],
    "fct_open_loans": [
        "only rows where stg_loans.returned_at IS NULL",
        "- int_open_loans: stg_loans; where returned_at IS NULL",
        "- int_open_loans as open_loans;"
        " inner join stg_books as books on open_loans.book_id = books.book_id",
    ],
    "int_latest_loan": ["one row per borrower_id (unique, row_number = 1)"],
    "dim_books": [
        "- int_open_loans: stg_loans; where returned_at IS NULL",
        "- stg_books as books; left join int_open_loans as open_loans"
        " on books.book_id = open_loans.book_id; one row per book_id, title, category, price",
    ],
    "dim_members": [
        "only rows where stg_members.deleted_at IS NULL",
        "- loans_per_borrower: stg_loans; one row per borrower_id",
        "- fines_per_person: stg_fines as fines;"
        " inner join stg_loans as loans on fines.loan_id = loans.loan_id; one row per person_id",
        "- open_incidents: stg_tickets; where is_incident and is_open; one row per person_id",
    ],
}
MARTS = {
    "dim_members.loan_count": (
        "aggregate over loans_per_borrower: COALESCE(COUNT(*), 0)",
        "0 where loans_per_borrower has no row",
    ),
    "dim_members.last_opened_at": (
        "aggregate over loans_per_borrower: MAX(stg_loans.opened_at)",
        "empty where loans_per_borrower has no row",
    ),
    "dim_members.fine_count": (
        "aggregate over fines_per_person: COALESCE(COUNT(*), 0)",
        "0 where fines_per_person has no row",
    ),
    "dim_members.fine_total": (
        "aggregate over fines_per_person: COALESCE(SUM(stg_fines.amount), 0)",
        "0 where fines_per_person has no row",
    ),
    "dim_members.open_incident_count": (
        "aggregate over open_incidents: COALESCE(COUNT(*), 0)",
        "0 where open_incidents has no row",
    ),
    "dim_members.is_active": (
        "aggregate over loans_per_borrower: COALESCE(COUNT(*), 0) > 0",
        "FALSE where loans_per_borrower has no row",
    ),
    "dim_books.open_loan_count": (
        "aggregate: COUNT(stg_loans.loan_id)",
        "0 where open_loans has no row",
    ),
    "fct_loans.librarian_name": ("empty where librarian has no row",),
    "fct_loans.title": ("empty where books has no row",),
    "fct_calendar_loans.returned_on": ("empty where returned has no row",),
    "fct_renewals.days_since_previous": (
        "derived: DATE_DIFF('DAY', previous.opened_at, loan.opened_at)",
    ),
    "fct_ticket_counts.question_count": (
        "aggregate: COUNT(CASE WHEN kind = 'question' THEN ticket_id END)",
    ),
    "fct_ticket_counts.incident_count": (
        "aggregate: COUNT(CASE WHEN kind = 'incident' THEN ticket_id END)",
    ),
}
"""Joined columns that are never without a row are not among those that say when they are."""

MARK = "'(set by the build)'"
BUILD_VALUES = {
    "raw.books.category": f"used in stg_books.catalog_path: {MARK} || '.' || category",
    "stg_books.catalog_path": f"derived: {MARK} || '.' || category",
    "stg_events.staged_at": f"literal: {MARK}",
    "stg_people.branch": f"literal: {MARK}",
}
MARTS_YAML = "marts/_marts__models.yml"


def text_of(table: str, name: str) -> str:
    """Return what the library's documentation says; ``description`` is the table itself."""
    if name == "description":
        return f"Rows that the library keeps in {table}."
    return TEXTS.get(f"{table}.{name}", f"What {table} has as its {name}, told on its own.")


def answer(request: Recorded, number: int) -> Reply:
    table = request.turns[-1][1].split("`")[1]
    return Reply(content=changed(fill(request.schema), lambda name, _: text_of(table, name)))


@dataclass
class Library:
    """The project after one run, and what was asked in it."""

    built: Path
    """As it was before the run."""
    shop: Shop
    server: LoopbackServer

    def prompt(self, table: str) -> str:
        return prompt_about(self.server, table)

    def context(self, table: str) -> list[str]:
        """Return what a prompt says of the table itself."""
        return _between(self.prompt(table), "context").splitlines()

    def blocks(self, table: str) -> dict[str, list[str]]:
        """Return what a prompt says of each column that it asks for."""
        blocks = re.split(r"^- `(\w+)`.*", _between(self.prompt(table), "columns"), flags=re.M)
        return {
            name: [line.strip() for line in block.splitlines() if line.strip()]
            for name, block in zip(blocks[1::2], blocks[2::2], strict=True)
        }

    def evidence(self, place: str) -> list[str]:
        table, _, column = place.rpartition(".")
        return self.blocks(table)[column]

    @cached_property
    def texts(self) -> dict[str, str]:
        """Return every text by its place, as prompts call it."""
        found = self.shop.texts()
        sources = {table.removeprefix("raw.") for table in ASKED if table.startswith("raw.")}
        return {
            f"raw.{name}" if name.partition(".")[0] in sources else name: text
            for name, text in found.items()
        }


def _between(prompt: str, marker: str) -> str:
    found = re.search(rf"<{marker}>\n(.*?)\n</{marker}>", prompt, re.DOTALL)
    return found[1] if found else ""


def messages(server: LoopbackServer) -> list[str]:
    return sorted(str(request.body["messages"]) for request in server.requests)


@pytest.fixture(scope="module")
def built_library(made_once: Callable[..., Path]) -> Path:
    return made_once("library", lambda directory: build_project("library", directory))


@pytest.fixture(scope="module")
def library(built_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with LoopbackServer().running() as server:
        server.script = answer
        shop = copy_of(built_library, tmp_path_factory.mktemp("documented"), server)
        done = shop.document("--llm-concurrency", "1")
        assert done.returncode == 0, done.stderr
        assert "Texts to look at" not in done.stderr, done.stderr
        yield Library(built_library, shop, server)


@pytest.fixture
def documented(library: Library, tmp_path: Path, server: LoopbackServer) -> Shop:
    """Give a copy of the documented project that may be changed."""
    return copy_of(library.shop.directory, tmp_path, server)


@pytest.mark.parametrize("table", ASKED)
def test_a_column_is_asked_for_or_has_the_text_of_the_one_that_it_is(
    library: Library, table: str
) -> None:
    asked = ASKED[table].split()
    pairs = dict(pair.split("=") for pair in TAKEN_OVER.get(table, "").split())
    assert list(library.blocks(table)) == asked
    for column in asked:
        assert library.texts[f"{table}.{column}"] == text_of(table, column)
    for column, origin in pairs.items():
        assert library.texts[f"{table}.{column}"] == library.texts[origin], column
    by_hand = {place.rpartition(".")[2] for place in BY_HAND if place.startswith(f"{table}.")}
    columns = {place.rpartition(".")[2] for place in library.texts if place.startswith(f"{table}.")}
    assert columns == {*asked, *pairs, *by_hand}
    assert library.texts[table] == text_of(table, "description")


def test_texts_of_people_stay(library: Library) -> None:
    assert {place: library.texts[place] for place in BY_HAND} == BY_HAND


@pytest.mark.parametrize("place", SOURCES)
def test_a_source_says_where_its_text_will_stand_and_what_is_made_of_it(
    library: Library, place: str
) -> None:
    evidence = library.evidence(place)
    assert [line for line in SOURCES[place] if line not in evidence] == [], evidence


def also_in(library: Library) -> Iterator[tuple[str, str]]:
    """Yield each column with a place that its text was asked to fit."""
    for table in ASKED:
        for column, block in library.blocks(table).items():
            for line in block:
                if line.startswith("also in: "):
                    names = re.sub(r" and \d+ more$", "", line.removeprefix("also in: "))
                    for name in names.split(", "):
                        yield f"{table}.{column}", name if "." in name else f"{name}.{column}"


def test_a_text_stands_in_the_places_that_it_was_asked_to_fit(library: Library) -> None:
    fit_nowhere = {"raw.people.email", "raw.books.category"}
    pairs = [pair for pair in also_in(library) if pair[0] not in fit_nowhere]
    assert len(pairs) > 40
    # What is named in vain is the next two tests'.
    known = {*pairs_with_ephemeral_models(library), *pairs_past_a_text_of_a_person(library)}
    texts = library.texts
    assert [pair for pair in pairs if texts[pair[0]] != texts[pair[1]] and pair not in known] == []


def pairs_with_ephemeral_models(library: Library) -> list[tuple[str, str]]:
    return [pair for pair in also_in(library) if pair[1].startswith("int_open_loans.")]


def pairs_past_a_text_of_a_person(library: Library) -> list[tuple[str, str]]:
    described = ("raw.books.title", "raw.loans.borrower_id")  # by their staging models
    return [pair for pair in also_in(library) if pair[0] in described]


def test_no_text_is_asked_to_fit_an_ephemeral_model(library: Library) -> None:
    assert pairs_with_ephemeral_models(library) == []


def test_no_text_is_asked_to_fit_what_takes_over_a_text_of_a_person(library: Library) -> None:
    assert pairs_past_a_text_of_a_person(library) == []


def test_what_is_cast_to_another_type_is_not_called_the_same(library: Library) -> None:
    (line,) = [one for one in library.evidence("raw.loans.priority") if "has_priority" in one]
    assert "the same" not in line
    assert "BOOLEAN" in line


@pytest.mark.parametrize("place", ROLES)
def test_a_column_in_a_role_says_as_what_it_stands_here(library: Library, place: str) -> None:
    origin, role = ROLES[place]
    evidence = library.evidence(place)
    assert f"here: {role}" in evidence
    assert origin in "\n".join(evidence)
    assert library.texts[place] not in ("", library.texts[origin])


@pytest.mark.parametrize("place", NOT_THE_SAME_WORDS)
def test_a_text_that_does_not_fit_is_asked_for_with_the_reason(
    library: Library, place: str
) -> None:
    assert NOT_THE_SAME_WORDS[place] in library.evidence(place)


@pytest.mark.parametrize("table", CONTEXTS)
def test_a_table_says_which_rows_it_has(library: Library, table: str) -> None:
    context = library.context(table)
    assert [line for line in CONTEXTS[table] if line not in context] == [], context


def test_filters_of_what_may_have_no_row_are_not_the_tables(library: Library) -> None:
    for table, own in (("dim_members", 1), ("dim_books", 0), ("fct_loans", 0)):
        lines = [line for line in library.context(table) if line.startswith("only rows where")]
        assert len(lines) == own, table
        assert "is_incident" not in "".join(lines)


@pytest.mark.parametrize("place", MARTS)
def test_a_mart_says_of_what_and_when_empty(library: Library, place: str) -> None:
    evidence = library.evidence(place)
    assert [line for line in MARTS[place] if line not in evidence] == [], evidence


def test_only_what_an_outer_join_gives_may_be_without_a_row(library: Library) -> None:
    said = {
        f"{table}.{column}"
        for table in ASKED
        for column, block in library.blocks(table).items()
        if any(line.endswith("has no row") for line in block)
    }
    assert said == {
        *(place for place in MARTS if any(line.endswith("has no row") for line in MARTS[place])),
        "fct_loans.book_updated_at",
    }


def test_three_counts_of_rows_are_three_questions(library: Library) -> None:
    names = ("loan_count", "fine_count", "open_incident_count")
    assert len({tuple(library.evidence(f"dim_members.{name}")) for name in names}) == 3


@pytest.mark.parametrize("place", BUILD_VALUES)
def test_a_value_of_the_build_is_marked(library: Library, place: str) -> None:
    assert BUILD_VALUES[place] in library.evidence(place)


def test_no_prompt_holds_a_value_of_the_build(library: Library) -> None:
    for table in ASKED:
        prompt = library.prompt(table)
        for value in ("'dev'", "'main'"):  # the target's name and a variable's value
            assert value not in prompt, table
        assert not re.search(r"'\d{4}-\d\d-\d\d[ T]\d\d:", prompt), table  # the run's time
    # Those that stand in the project's own files are no values of a build.
    assert "date '2024-01-01'" in library.prompt("dim_dates")
    assert "when kind = 'question' then" in library.prompt("fct_ticket_counts")


def test_lineage_goes_before_names(library: Library) -> None:
    """A borrower's id is that of the person, not what the latest loan calls so."""
    assert library.texts["int_latest_loan.borrower_id"] == BY_HAND["stg_loans.borrower_id"]
    assert library.texts["dim_borrowers.borrower_id"] == BY_HAND["raw.people.id"]


def test_a_text_that_a_name_has_misplaced_is_listed_and_left_alone(
    documented: Shop, server: LoopbackServer
) -> None:
    entry = "      - name: borrower_id\n        description: {}\n        data_tests:\n"
    own, of_the_loan = BY_HAND["raw.people.id"], BY_HAND["stg_loans.borrower_id"]
    edit(documented, MARTS_YAML, entry.format(own), entry.format(of_the_loan))
    code, found = check(documented)
    assert (code, listed(found, "misplaced")) == (0, {"dim_borrowers.borrower_id"})
    strict = documented.dbt_osmosis("llm", "check", "--strict")
    why = "has the text of int_latest_loan.borrower_id, but comes from stg_people.person_id"
    assert (strict.returncode, why in strict.stdout) == (1, True), strict.stdout
    before = documented.yaml_files()
    assert documented.document("--llm-refresh", "stale").returncode == 0
    assert (server.requests, documented.yaml_files()) == ([], before)


def test_a_second_run_asks_nothing_and_all_is_well(
    documented: Shop, server: LoopbackServer
) -> None:
    before = documented.yaml_files()
    again = documented.document()
    assert again.returncode == 0, again.stderr
    assert (server.requests, documented.yaml_files()) == ([], before)
    code, found = check(documented, "--strict")
    assert (code, found["missing"], found["coverage"]) == (0, 0, 100.0)
    for kind in ("stale", "orphaned", "conflicting", "misplaced"):
        assert listed(found, kind) == set(), kind


def test_prompts_are_the_same_whatever_the_hash_seed(
    library: Library, tmp_path: Path, server: LoopbackServer
) -> None:
    """A fork has the seed of the process that it comes from, which is another one."""
    server.script = answer
    shop = copy_of(library.built, tmp_path, server)
    assert shop.document("--llm-concurrency", "8", PYTHONHASHSEED="1").returncode == 0
    assert messages(server) == messages(library.server)


def test_newer_prompts_rewrite_nothing_that_is_right(
    documented: Shop, server: LoopbackServer
) -> None:
    prompts = documented.directory / "prompts.yaml"
    prompts.write_text("rules: [Write for readers of the library.]\n")
    before = documented.yaml_files()
    done = documented.document("--llm-refresh", "stale", "--llm-prompt-file", "prompts.yaml")
    assert done.returncode == 0, done.stderr
    assert (server.requests, documented.yaml_files()) == ([], before)
    lines = [line for line in done.stderr.splitlines() if "prompts are newer" in line]
    assert len(lines) == 1
    assert re.fullmatch(
        r"The prompts are newer than \d+ texts that are still right;"
        r" --llm-refresh all-generated writes these anew, too\.",
        lines[0],
    )


def test_explain_shows_role_reason_and_when_empty(
    built_library: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    shop = copy_of(built_library, tmp_path, server)
    reason = f"asked: rename of stg_people.name, whose text does not fit as it is: {LIBRARIAN}"
    said = explain(shop, "fct_loans", "librarian_name")
    assert re.search(rf"^what happens: +{re.escape(reason)}$", said, re.M)
    assert re.search(r"^without a row: empty where librarian has none$", said, re.M)
    assert "\nstg_people.name: Name of the person.\n" in said
    assert "\n  <- raw.people.name [pass] (in models/staging/_raw__sources.yml)\n" in said
    facts = explained(shop, "fct_loans", "librarian_name")
    assert (facts["verdict"], facts["why"]) == ("asked", reason)
    assert facts["without_partner"] == [{"table": "librarian", "value": "NULL"}]
    chain = [step["table"] for leaf in facts["made_of"] for step in leaf["text_from"]]
    assert chain == ["stg_people", "raw.people"]


def test_explain_shows_the_family_of_a_column(
    built_library: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    shop = copy_of(built_library, tmp_path, server)
    uses: list[dict[str, Any]] = explained(shop, "raw.people", "name")["used_as"]
    places = {f"{use['table']}.{use['column']}": use["expression"] for use in uses}
    assert {name for name, expression in places.items() if expression is None} == {
        f"{table}.name" for table in ("stg_people", "stg_members", "dim_members", "dim_borrowers")
    }
    assert places["fct_loans.librarian_name"] == f"the same, {LIBRARIAN}"
    said = explain(shop, "raw.tickets", "status")
    assert re.search(r"^also in: +stg_tickets\.status; fct_incidents\.status$", said, re.M)
    assert re.search(r"^used in: +stg_tickets\.is_open: CASE WHEN status IN \('open'", said, re.M)
