"""The engine on a project in memory: order, inheritance, failures."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Mapping, Sequence

import pytest

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMBudgetError,
    LLMRefusalError,
    LLMResponseError,
    LLMTimeoutError,
    LLMTruncatedError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.mock import MockLLMClient, valid_answer
from dbt_osmosis_llm.llm.usage import Price
from dbt_osmosis_llm.synthesis.copying import Copy
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts
from dbt_osmosis_llm.synthesis.prompts import Prompts
from dbt_osmosis_llm.synthesis.report import RunReport
from tests.limits import SOON_S


class MemoryProject:
    """Nodes with parents and columns; inherits by name from any ancestor, as dbt-osmosis does."""

    def __init__(
        self, parents: Mapping[str, Sequence[str]], columns: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.parents_of = parents
        self.finished: list[str] = []
        self.columns = {node_id: dict(texts) for node_id, texts in columns.items()}
        self.descriptions = dict.fromkeys(columns, "")
        self.inherited: dict[str, list[str]] = {node_id: [] for node_id in columns}
        self.sql = dict.fromkeys(columns, "select 1")
        self.unknown: dict[str, set[str]] = {}
        """Columns that stay empty and are not asked for."""

    def node_ids(self) -> Sequence[str]:
        return list(self.columns)

    def parents(self, node_id: str) -> set[str]:
        return set(self.parents_of.get(node_id, ()))

    def finish(self, node_id: str) -> None:
        self.finished.append(node_id)

    def ancestors(self, node_id: str) -> set[str]:
        found = set(self.parents_of.get(node_id, ()))
        return found.union(*(self.ancestors(parent) for parent in found))

    def tables_read(self, node_id: str) -> Sequence[str]:
        return self.parents_of.get(node_id, ())

    def inheritable_names(self, node_id: str) -> set[str]:
        return set(self.columns[node_id])

    def unsettled_names(self, node_id: str) -> set[str]:
        return set(self.missing(node_id).columns)

    def may_change(self, node_id: str) -> bool:
        return False

    def twins(self, node_id: str) -> Sequence[str]:
        return ()

    def share(self, node_id: str) -> tuple[str, ...]:
        return ()

    def missing(self, node_id: str) -> Missing:
        unknown = self.unknown.get(node_id, set())
        columns = tuple(name for name in self._empty(node_id) if name not in unknown)
        return Missing(not self.descriptions[node_id], columns)

    def _empty(self, node_id: str) -> Sequence[str]:
        return [name for name, text in self.columns[node_id].items() if not text]

    def inherit(self, node_id: str, keep_out: Collection[str] = ()) -> None:
        for name in self._empty(node_id):
            if name in keep_out:
                continue
            for ancestor in sorted(self.ancestors(node_id)):
                if text := self.columns[ancestor].get(name):
                    self.columns[node_id][name] = text
                    self.inherited[node_id].append(name)
                    break

    def copy(self, node_id: str, copies: Sequence[Copy]) -> tuple[str, ...]:
        for copy in copies:
            origin = self.columns[copy.origin_id][copy.origin_column]
            assert origin == copy.text
            self.columns[node_id][copy.column] = origin
        return tuple(copy.column for copy in copies)

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        return tuple(self.inherited[node_id])

    def evidence(self, node_id: str) -> NodeEvidence:
        sql, parents = self.sql[node_id], self.parents_of.get(node_id, ())
        return NodeEvidence(
            node_id,
            f"table_{node_id}",
            "model",
            sql=sql,
            facts=read_query(sql, "duckdb", {p: list(self.columns[p]) for p in parents}),
            columns=tuple(ColumnEvidence(name) for name in self.columns[node_id]),
            upstream=tuple(UpstreamTable(p, p, "", self.columns[p], p) for p in parents),
        )

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        self.descriptions[node_id] = texts.description or ""
        self.columns[node_id].update(texts.columns)


def chain() -> MemoryProject:
    return MemoryProject(
        {"b": ["a"], "c": ["b"]},
        {"a": {"id": "", "x": ""}, "b": {"id": "", "y": ""}, "c": {"id": "", "x": "", "z": ""}},
    )


def run(project: MemoryProject, client: MockLLMClient) -> RunReport:
    return Engine(client, Prompts()).run(project)


def test_children_inherit_what_was_generated_for_their_parents() -> None:
    project, client = chain(), MockLLMClient()
    report = run(project, client)
    assert [call.custom_id for call in client.calls] == ["a", "b", "c"]
    assert (
        project.columns["c"]
        == {
            "id": "Text of id.",
            "x": "Text of x.",
            "z": "Text of description.",
        }
        or project.columns["c"]["z"] == "Text of z."
    )
    assert [outcome.generated for outcome in report.outcomes] == [("id", "x"), ("y",), ("z",)]
    assert [outcome.inherited for outcome in report.outcomes] == [(), ("id",), ("id", "x")]
    assert report.stopped_by is None


def with_complete_middle(last: str) -> MemoryProject:
    """Return b, complete, between a with the column x and c; w stands alone."""
    project = MemoryProject(
        {"b": ["a"], "c": ["b"]},
        {"w": {"v": ""}, "a": {"x": ""}, "b": {"x": "Known.", "y": "Known."}, "c": {last: ""}},
    )
    project.descriptions["b"] = "Known."
    return project


class ClientThatWaits(MockLLMClient):
    """Answers about a table only when it was asked about another one."""

    def __init__(self, about: str, until_asked: str) -> None:
        super().__init__()
        self._about, self._until_asked = about, until_asked
        self._asked = threading.Event()

    def complete(self, request: LLMRequest) -> LLMResponse:
        if request.custom_id == self._until_asked:
            self._asked.set()
        if request.custom_id == self._about and not self._asked.wait(SOON_S):
            raise LLMTimeoutError(f"nobody asked about {self._until_asked}")
        return super().complete(request)


def test_past_a_complete_table_nothing_is_waited_for_without_a_name_in_common() -> None:
    # w is answered first: until then nothing runs beside anything.
    project, client = with_complete_middle("z"), ClientThatWaits("a", until_asked="c")
    report = Engine(client, Prompts(), concurrency=4).run(project)
    assert not report.has_failures
    assert project.columns["c"] == {"z": "Text of z."}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_past_a_complete_table_a_column_of_the_same_name_is_waited_for(concurrency: int) -> None:
    project, client = with_complete_middle("x"), MockLLMClient()
    # By the rules of this project the text comes from the first table that has one: a.
    report = Engine(client, Prompts(), concurrency=concurrency).run(project)
    assert [o.inherited for o in report.outcomes if o.node_id == "c"] == [("x",)]
    assert project.columns["c"] == {"x": "Text of x."}


def test_past_a_complete_table_a_column_waits_for_the_next_run_of_a_failed_one() -> None:
    project = with_complete_middle("x")
    project.columns["b"] = {"y": "Known."}
    client = MockLLMClient({"table_a": LLMAPIError("answered 400", status_code=400)})
    report = run(project, client)
    assert [o.waiting for o in report.outcomes if o.node_id == "c"] == [("x",)]
    assert project.columns["c"] == {"x": ""}


def test_a_complete_table_is_finished_before_anything_is_asked() -> None:
    project, client = with_complete_middle("z"), MockLLMClient()
    run(project, client)
    assert project.finished[0] == "b"
    assert sorted(project.finished) == ["a", "b", "c", "w"]


def test_nothing_missing_asks_nothing() -> None:
    project, client = chain(), MockLLMClient()
    run(project, client)
    client.calls.clear()
    report = run(project, client)
    assert client.calls == []
    assert sum(len(outcome.generated) for outcome in report.outcomes) == 0


def test_a_failed_node_stops_no_other_and_its_columns_wait() -> None:
    client = MockLLMClient({"table_a": LLMAPIError("answered 400", status_code=400)})
    project = chain()
    report = run(project, client)
    assert [call.custom_id for call in client.calls] == ["a", "b", "c"]
    assert [outcome.node_id for outcome in report.failures] == ["a"]
    # id and x come from a: no text of their own for them, or they would differ from a's later.
    assert project.columns["b"] == {"id": "", "y": "Text of y."}
    assert [outcome.waiting for outcome in report.outcomes[1:]] == [("id",), ("id", "x")]
    again = run(project, MockLLMClient())
    assert not again.failures
    assert all(text for columns in project.columns.values() for text in columns.values())
    assert project.columns["c"]["x"] == project.columns["a"]["x"]


def test_unusable_answers_fail_their_node_only() -> None:
    report = run(chain(), MockLLMClient({"table_b": "no JSON at all"}))
    assert isinstance(report.failures[0].error, LLMResponseError)
    assert [outcome.node_id for outcome in report.failures] == ["b"]


@pytest.mark.parametrize(
    "error", [LLMAPIError("no key", status_code=401, ends_run=True), LLMBudgetError("spent")]
)
def test_what_cannot_get_better_stops_the_asking(error: Exception) -> None:
    client = MockLLMClient({"table_b": error})
    project = chain()
    report = run(project, client)
    assert [call.custom_id for call in client.calls] == ["a", "b"]
    assert report.stopped_by is error
    assert report.not_asked == 1
    # What was done stays, and inheritance goes on: it costs nothing.
    assert project.columns["c"]["x"] == "Text of x."


def test_a_server_that_never_answered_is_asked_once() -> None:
    down = LLMAPIError("cannot reach", unreachable=True)
    client = MockLLMClient([down, down, down])
    report = run(chain(), client)
    assert len(client.calls) == 1
    assert report.stopped_by is down


def test_one_broken_connection_among_answers_is_one_failure() -> None:
    broken = LLMAPIError("cannot reach", unreachable=True)
    client = MockLLMClient({"table_b": broken})
    report = run(chain(), client)
    assert len(client.calls) == 3
    assert report.stopped_by is None


def test_null_leaves_a_column_empty_and_reports_it() -> None:
    answer = {"description": None, "columns": {"id": "Key.", "x": None}}
    report = run(MemoryProject({}, {"a": {"id": "", "x": ""}}), MockLLMClient({"table_a": answer}))
    outcome = report.outcomes[0]
    assert (outcome.generated, outcome.unknown) == (("id",), ("x",))
    assert outcome.description_unknown


def test_an_unexpected_failure_of_one_node_takes_nothing_with_it() -> None:
    project, client = chain(), MockLLMClient({"table_b": RuntimeError("adapter broke")})
    report = run(project, client)
    assert [str(o.error) for o in report.failures] == ["unexpected RuntimeError: adapter broke"]
    assert project.columns["c"]["z"]


@pytest.mark.parametrize(
    "error", [LLMTimeoutError("late"), LLMAPIError("answered 503", status_code=503)]
)
def test_a_server_that_went_silent_is_not_waited_for_at_each_node(error: Exception) -> None:
    names = [f"n{index:02}" for index in range(20)]
    project = MemoryProject({}, {name: {"x": ""} for name in names})
    client = MockLLMClient(['{"description": "A.", "columns": {"x": "X."}}', *[error] * 19])
    report = run(project, client)
    assert len(client.calls) == 6
    assert report.stopped_by is error
    assert report.not_asked == 14
    assert report.texts_not_asked == 28


def wide(columns: int) -> MemoryProject:
    return MemoryProject({}, {"a": {f"c{number}": "" for number in range(columns)}})


def cut(text: str) -> LLMResponse:
    return LLMResponse(text, FinishReason.LENGTH)


def columns_of(request: LLMRequest) -> list[str]:
    properties = (request.schema or {})["properties"]
    if "columns" in properties:
        return ["(table)"] * ("description" in properties) + list(
            properties["columns"]["properties"]
        )
    return ["one"]


def test_columns_missing_from_a_good_answer_are_asked_for_once_more_alone() -> None:
    first = '{"description": "A.", "columns": {"c0": "Zero.", "c2": null}}'
    project, client = wide(4), MockLLMClient([first])
    report = run(project, client)
    assert [columns_of(call) for call in client.calls] == [
        ["(table)", "c0", "c1", "c2", "c3"],
        ["c1", "c3"],
    ]
    assert project.columns["a"] == {
        "c0": "Zero.",
        "c1": "Text of c1.",
        "c2": "",
        "c3": "Text of c3.",
    }
    outcome = report.outcomes[0]
    assert (outcome.unknown, outcome.unanswered, outcome.error) == (("c2",), (), None)


def test_what_is_left_out_twice_is_left_for_the_next_run() -> None:
    client = MockLLMClient(['{"description": "A.", "columns": {"c0": "Zero."}}', "{}", "{}"])
    report = run(wide(2), client)
    outcome = report.outcomes[0]
    assert (outcome.generated, outcome.unanswered, outcome.error) == (("c0",), ("c1",), None)


@pytest.mark.parametrize(
    "unusable", ["no JSON at all", '{"answer": 1}', "", LLMResponseError("200 with HTML")]
)
def test_an_unusable_answer_gets_one_repair_request(unusable: str | Exception) -> None:
    project, client = wide(2), MockLLMClient([unusable])
    report = run(project, client)
    assert not report.failures
    assert project.columns["a"] == {"c0": "Text of c0.", "c1": "Text of c1."}
    first, repair = client.calls
    assert repair.schema == first.schema
    if isinstance(unusable, str) and unusable:
        assert [message.role for message in repair.messages[-2:]] == ["assistant", "user"]
        assert repair.messages[-2].content == unusable
        assert repair.messages[-1].content.startswith("This answer cannot be used: the answer ")
    else:
        assert repair == first


def test_two_unusable_answers_fail_the_node() -> None:
    client = MockLLMClient(["no JSON", "still none"])
    report = run(wide(2), client)
    assert [type(o.error) for o in report.failures] == [LLMResponseError]
    assert len(client.calls) == 2
    assert report.failures[0].failed == 3


@pytest.mark.parametrize("finish", [FinishReason.REFUSAL, FinishReason.FILTERED])
def test_a_refusal_is_final(finish: FinishReason) -> None:
    client = MockLLMClient([LLMResponse("I cannot.", finish)])
    report = run(wide(2), client)
    assert [type(o.error) for o in report.failures] == [LLMRefusalError]
    assert len(client.calls) == 1


def test_a_cut_answer_keeps_what_is_whole_and_asks_for_the_rest_in_two_halves() -> None:
    answer = cut('{"description": "A.", "columns": {"c0": "Zero.", "c1": "On')
    project, client = wide(6), MockLLMClient([answer])
    report = run(project, client)
    assert [columns_of(call) for call in client.calls[1:]] == [["c1", "c2", "c3"], ["c4", "c5"]]
    assert project.columns["a"]["c0"] == "Zero."
    assert project.columns["a"]["c1"] == "Text of c1."
    assert project.descriptions["a"] == "A."
    assert not report.has_failures


def test_an_answer_cut_before_anything_is_whole_is_asked_again_in_halves_once() -> None:
    project, client = wide(4), MockLLMClient([cut('{"descr'), cut("")])
    report = run(project, client)
    assert [columns_of(call) for call in client.calls] == [
        ["(table)", "c0", "c1", "c2", "c3"],
        ["(table)", "c0", "c1"],
        ["c2", "c3"],
    ]
    assert (project.columns["a"]["c0"], project.columns["a"]["c2"]) == ("", "Text of c2.")
    assert [type(o.error) for o in report.failures] == [LLMTruncatedError]
    assert "OSMOSIS_LLM_MAX_OUTPUT_TOKENS" in str(report.failures[0].error)


def test_what_was_answered_before_an_error_is_kept() -> None:
    answer = cut('{"description": "A.", "columns": {"c0": "Zero.", "c1": "On')
    error = LLMAPIError("answered 400", status_code=400)
    project, client = wide(6), MockLLMClient([answer, error])
    report = run(project, client)
    assert (project.descriptions["a"], project.columns["a"]["c0"]) == ("A.", "Zero.")
    outcome = report.failures[0]
    assert (outcome.asked, outcome.failed, outcome.generated) == (7, 3, ("c0", "c4", "c5"))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_failure_of_ours_is_a_failure_of_its_node(concurrency: int) -> None:
    project = chain()
    apply = project.apply

    def apply_or_fail(node_id: str, texts: NodeTexts) -> None:
        if node_id == "b":
            raise RuntimeError("the file is odd")
        apply(node_id, texts)

    project.apply = apply_or_fail  # type: ignore[method-assign]
    report = Engine(MockLLMClient(), Prompts(), concurrency=concurrency).run(project)
    assert [(o.node_id, str(o.error)) for o in report.failures] == [
        ("b", "unexpected RuntimeError: the file is odd")
    ]
    assert project.descriptions["c"]


def test_columns_of_wide_tables_are_asked_for_in_even_parts_and_at_once() -> None:
    project, client = wide(60), MockLLMClient()
    report = Engine(client, Prompts(), concurrency=4).run(project)
    asked = sorted((columns_of(call) for call in client.calls), key=len, reverse=True)
    assert [len(columns) for columns in asked] == [21, 20, 20]
    assert sum("(table)" in columns for columns in asked) == 1
    assert not report.has_failures
    assert all(project.columns["a"].values())


def test_what_is_too_long_for_the_model_is_asked_in_halves() -> None:
    error = LLMAPIError("maximum context length is 8192 tokens", status_code=400)
    project, client = wide(6), MockLLMClient([error])
    report = run(project, client)
    assert [len(columns_of(call)) for call in client.calls] == [7, 4, 3]
    assert not report.has_failures


LINES = "\n".join(f"select {number} as number_{number}," for number in range(1500))


def size(request: LLMRequest) -> int:
    expected = request.expected_usage
    return expected.input_tokens + expected.output_tokens


def shown_sql(request: LLMRequest) -> int:
    return request.messages[-1].content.count("as number_")


@pytest.mark.parametrize(
    ("price", "window"),
    [
        (Price("openai", "gpt-4o-mini"), 128_000),
        (Price(None, "gpt-4o-mini", "https://api.openai.com/v1"), 128_000),
        (Price("openai", "nobody-knows-this-one"), None),
        (Price("free", "gpt-4o-mini"), None),
        (Price(None, "gpt-4o-mini"), None),
    ],
)
def test_the_context_window_of_hosted_models_is_known(price: Price, window: int | None) -> None:
    assert price.context_window() == window


@pytest.mark.parametrize("max_sql_chars", [None, 20_000])
def test_what_passes_the_context_window_is_split_and_its_sql_cut(max_sql_chars: int | None) -> None:
    project, client = wide(12), MockLLMClient()
    project.sql["a"] = LINES
    report = Engine(
        client, Prompts(), max_sql_chars=max_sql_chars, context_window=lambda: 6000
    ).run(project)
    assert not report.has_failures
    assert all(project.columns["a"].values())
    asked = [name for call in client.calls for name in columns_of(call) if name != "one"]
    assert len(asked) == len(set(asked))
    assert all(size(call) <= 6000 for call in client.calls)
    assert all(shown_sql(call) > 100 for call in client.calls)


def test_what_fits_the_context_window_is_asked_whole() -> None:
    project, client = wide(12), MockLLMClient()
    Engine(client, Prompts(), context_window=lambda: 8000).run(project)
    assert [len(columns_of(call)) for call in client.calls] == [13]


def test_what_never_fits_the_context_window_fails_alone_and_unsent() -> None:
    names = [f"n{index}" for index in range(8)]
    project = MemoryProject({}, {name: {"x": "", "y": ""} for name in names})
    for name in names[:7]:
        project.sql[name] = LINES
    client = MockLLMClient()
    report = Engine(client, Prompts(), context_window=lambda: 1000).run(project)
    assert {call.custom_id for call in client.calls} == {"n7"}
    assert [outcome.node_id for outcome in report.failures] == names[:7]
    assert re.fullmatch(
        r"one text alone takes about 1,\d{3} tokens with its answer, its SQL cut short already; "
        r"the context window is 1,000 tokens\. Set OSMOSIS_LLM_CONTEXT_WINDOW if that is not so\.",
        str(report.failures[0].error),
    )
    assert report.stopped_by is None


def test_what_is_refused_as_too_long_is_made_smaller_until_it_is_taken() -> None:
    def refuse(request: LLMRequest) -> LLMAPIError | str:
        if size(request) <= 4000:
            return json.dumps(valid_answer(request.schema or {}))
        return LLMAPIError("prompt is too long", status_code=400)

    project, client = wide(25), MockLLMClient(refuse)
    project.sql["a"] = LINES * 4
    report = run(project, client)
    assert sum(size(call) > 4000 for call in client.calls) > 5
    assert not report.has_failures
    assert report.stopped_by is None
    assert all(project.columns["a"].values())
    assert project.descriptions["a"]


def test_what_is_refused_however_short_fails_with_the_words_of_the_server() -> None:
    error = LLMAPIError("prompt is too long: 9 tokens", status_code=400)
    project, client = wide(2), MockLLMClient(lambda _: error)
    project.sql["a"] = LINES[:4000]
    report = run(project, client)
    # Three texts, two and one, one and one; each alone again with 2,000 characters of SQL.
    assert [len(columns_of(call)) for call in client.calls] == [3, 2, 1, 1, 1]
    assert report.failures[0].error is error
    assert report.failures[0].failed == 3


def test_a_bound_on_sql_is_never_raised() -> None:
    def refuse(request: LLMRequest) -> LLMAPIError | str:
        if len(columns_of(request)) == 1:
            return json.dumps(valid_answer(request.schema or {}))
        return LLMAPIError("prompt is too long", status_code=400)

    project, client = wide(3), MockLLMClient(refuse)
    project.sql["a"] = LINES
    Engine(client, Prompts(), max_sql_chars=300).run(project)
    assert len(client.calls) == 7
    assert {shown_sql(call) for call in client.calls} == {shown_sql(client.calls[0])}


def test_a_model_without_one_usable_answer_is_not_asked_for_ever() -> None:
    names = [f"n{index:02}" for index in range(20)]
    client = MockLLMClient(lambda _: "I am a teapot.")
    report = run(MemoryProject({}, {name: {"x": ""} for name in names}), client)
    assert isinstance(report.stopped_by, LLMResponseError)
    assert len(client.calls) == 10  # five, each with its repair
    assert report.not_asked == 15


def test_a_file_may_be_written_when_its_node_is_finished() -> None:
    project = chain()
    run(project, MockLLMClient())
    assert project.finished == ["a", "b", "c"]


class FragileProject(MemoryProject):
    """Fails at one method for one node."""

    def __init__(self, method: str, node_id: str) -> None:
        super().__init__(
            {"b": ["a"]}, {"a": {"x": ""}, "b": {"y": ""}, "w": {"v": "Known."}, "z": {"u": ""}}
        )
        self.descriptions["w"] = "Known."
        self._method = method
        self._node_id = node_id

    def _fail(self, method: str, node_id: str) -> None:
        if (method, node_id) == (self._method, self._node_id):
            raise RuntimeError("broken")

    def missing(self, node_id: str) -> Missing:
        self._fail("missing", node_id)
        return super().missing(node_id)

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        self._fail("inherited_columns", node_id)
        return super().inherited_columns(node_id)

    def evidence(self, node_id: str) -> NodeEvidence:
        self._fail("evidence", node_id)
        return super().evidence(node_id)

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        self._fail("apply", node_id)
        super().apply(node_id, texts)


@pytest.mark.parametrize("node_id", ["a", "w"])
@pytest.mark.parametrize("method", ["missing", "inherited_columns", "evidence", "apply"])
def test_whatever_fails_about_a_node_each_of_them_is_finished(method: str, node_id: str) -> None:
    project, client = FragileProject(method, node_id), MockLLMClient()
    report = run(project, client)
    # To finish a node puts back what was set aside to be written again.
    assert sorted(project.finished) == ["a", "b", "w", "z"]
    assert project.columns["z"] == {"u": "Text of u."}
    failed = [outcome.node_id for outcome in report.failures]
    # A complete table has no evidence to gather and nothing to apply.
    touched = node_id == "a" or method in ("missing", "inherited_columns")
    assert failed == ([node_id] if touched else [])
    assert all("unexpected RuntimeError: broken" in str(o.error) for o in report.failures)


def test_texts_are_kept_when_a_check_of_them_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **keywords: object) -> None:
        raise ZeroDivisionError("a check of ours")

    monkeypatch.setattr("dbt_osmosis_llm.synthesis.engine.check_texts", broken)
    project = chain()
    report = run(project, MockLLMClient())
    assert project.columns["a"] == {"id": "Text of id.", "x": "Text of x."}
    assert project.finished == ["a", "b", "c"]
    assert "a check of ours" in str(report.outcomes[0].error)


def test_an_interrupt_before_the_run_holds() -> None:
    project, client = chain(), MockLLMClient()
    engine = Engine(client, Prompts())
    engine.interrupt(5)
    report = engine.run(project)
    assert client.calls == []
    assert report.not_asked == 3
    assert sorted(project.finished) == ["a", "b", "c"]
