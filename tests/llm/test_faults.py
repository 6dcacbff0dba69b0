"""Every provider x every fault, through the real SDKs and the whole stack, on loopback."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMError
from dbt_osmosis_llm.llm.messages import RateLimits
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.limits import patience
from tests.llm.endpoints import (
    ANSWER,
    ENDPOINTS,
    REQUEST,
    Endpoint,
    Play,
    own_clients,
    play,
    sign_in,
)
from tests.llm.fault_table import cell_of_fault, cell_of_rejection
from tests.llm.faults import FINAL, PASSING, SLOW, STOPPED, UNUSABLE, Fault
from tests.llm.rejections import REJECTIONS, Rejection, form_of
from tests.server import HANGING_S, LoopbackServer, Recorded, Reply, Script
from tests.wire_formats import Answer, Counts

RETRY_DELAY_S = 0.01
TIMEOUT_S = 0.4


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    with sign_in(), own_clients():
        yield


@pytest.fixture(scope="module", autouse=True)
def _warm(_running_server: LoopbackServer) -> None:
    """Let every SDK load what it loads at its first request, before any bound on time."""
    with sign_in():
        for wire in sorted({endpoint.wire for endpoint in ENDPOINTS}):
            play(next(e for e in ENDPOINTS if e.wire == wire), _running_server)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that anybody logs, at its finest; dbt-osmosis's logger does not propagate."""
    theirs = logging.getLogger("dbt-osmosis")
    level = theirs.level
    caplog.set_level(logging.DEBUG)
    theirs.addHandler(caplog.handler)
    theirs.setLevel(logging.DEBUG)
    yield caplog
    theirs.removeHandler(caplog.handler)
    theirs.setLevel(level)


endpoints = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.provider)


def matrix(*faults: Fault) -> pytest.MarkDecorator:
    cells = [(e, f) for e in ENDPOINTS for f in faults if e.wire in f.wires]
    return pytest.mark.parametrize(
        ("endpoint", "fault"), cells, ids=[f"{e.provider}-{f.name}" for e, f in cells]
    )


# One provider of each wire format shows what a bound on time does; the others wait for the same.
_first_of_wire = {endpoint.wire: endpoint for endpoint in reversed(ENDPOINTS)}
slow_matrix = pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        pytest.param(
            endpoint,
            fault,
            id=f"{endpoint.provider}-{fault.name}",
            marks=[pytest.mark.slow] * (endpoint is not _first_of_wire[endpoint.wire]),
        )
        for endpoint in ENDPOINTS
        for fault in SLOW
    ],
)


def always(fault: Fault) -> Script:
    return lambda request, number: fault.reply()


def assert_gave_up(done: Play, fault: Fault, requests: int) -> None:
    """Assert that nothing but our own error came of it, after so many requests."""
    assert type(done.error) is fault.error, done.error
    assert isinstance(done.error, LLMError)
    assert done.error.ends_run == fault.ends_run
    assert (len(done.requests), done.error.attempts) == (requests, requests)
    summary = done.stats.summary()
    assert (summary["requests"], summary["retries"]) == (requests, requests - 1)
    assert summary["errors"] == {fault.error.__name__: requests}
    assert "\n" not in str(done.error)


@endpoints
def test_good_answers_count_to_the_token(endpoint: Endpoint, server: LoopbackServer) -> None:
    done = play(
        endpoint,
        server,
        lambda request, number: Reply(reasoning_tokens=8, limits=(500, 200_000)),
        calls=3,
    )
    assert done.answer == ANSWER
    assert done.response.request_id == "req_3"
    assert done.response.rate_limits == (
        None if endpoint.wire == "gemini" else RateLimits(500, 200_000)
    )
    summary = done.stats.summary()
    names = ("input", "cached", "cache_write", "output", "reasoning")
    told = {f"{name}_tokens": getattr(server, f"{name}_tokens") for name in names}
    assert {name: summary[name] for name in told} == told
    assert told["cached_tokens"] == 200
    assert told["reasoning_tokens"] == 24


@matrix(*PASSING)
def test_what_passes_is_repeated(endpoint: Endpoint, fault: Fault, server: LoopbackServer) -> None:
    done = play(
        endpoint,
        server,
        lambda request, number: fault.reply() if number <= 2 else None,
        max_retries=3,
        retry_delay_s=RETRY_DELAY_S,
    )
    assert done.answer == ANSWER
    assert (len(done.requests), done.response.attempts, len(done.waits)) == (3, 3, 2)
    assert done.requests[0].body == done.requests[2].body
    # A backoff doubles; to what a server asks a spread is added, against all coming back at once.
    least, most = fault.asked_s or (0.0, RETRY_DELAY_S * 2)
    assert [wait for wait in done.waits if not least <= wait <= most * 1.25] == []
    summary = done.stats.summary()
    assert (summary["requests"], summary["retries"]) == (3, 2)
    assert summary["errors"] == {fault.error.__name__: 2}
    assert (summary["input_tokens"], summary["output_tokens"]) == (
        server.input_tokens,
        server.output_tokens,
    )


@matrix(*PASSING)
def test_what_never_passes_is_given_up(
    endpoint: Endpoint, fault: Fault, server: LoopbackServer
) -> None:
    done = play(endpoint, server, always(fault), max_retries=1, retry_delay_s=RETRY_DELAY_S)
    assert_gave_up(done, fault, requests=2)


@slow_matrix
def test_the_bound_on_time_holds_for_the_whole_request(
    endpoint: Endpoint, fault: Fault, server: LoopbackServer
) -> None:
    timeout_s = TIMEOUT_S * patience()
    done = play(
        endpoint,
        server,
        always(fault),
        max_retries=1,
        retry_delay_s=RETRY_DELAY_S,
        timeout_s=timeout_s,
    )
    assert_gave_up(done, fault, requests=2)
    assert 2 * timeout_s * 0.9 < done.seconds < HANGING_S / 2


@slow_matrix
def test_a_server_that_was_slow_is_asked_again(
    endpoint: Endpoint, fault: Fault, server: LoopbackServer
) -> None:
    done = play(
        endpoint,
        server,
        lambda request, number: fault.reply() if number == 1 else None,
        max_retries=1,
        retry_delay_s=RETRY_DELAY_S,
        # The good answer has to come within the same time.
        timeout_s=2 * TIMEOUT_S * patience(),
    )
    assert done.answer == ANSWER
    assert (len(done.requests), done.response.attempts) == (2, 2)
    assert done.stats.summary()["retries"] == 1
    assert done.seconds < HANGING_S / 2


@matrix(*FINAL, *UNUSABLE)
def test_what_cannot_get_better_is_asked_once(
    endpoint: Endpoint, fault: Fault, server: LoopbackServer
) -> None:
    done = play(endpoint, server, always(fault), max_retries=3)
    assert_gave_up(done, fault, requests=1)
    assert done.waits == []


@endpoints
def test_a_server_that_is_not_there_is_looked_for_again(
    endpoint: Endpoint, server: LoopbackServer
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        root = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = play(endpoint, server, base_url=root + endpoint.version, max_retries=1)
    assert isinstance(done.error, LLMAPIError)
    assert (done.error.unreachable, done.error.attempts, len(done.waits)) == (True, 2, 1)
    assert root in str(done.error)


@matrix(*STOPPED)
def test_answers_that_are_none_are_paid_for(
    endpoint: Endpoint, fault: Fault, server: LoopbackServer
) -> None:
    done = play(endpoint, server, always(fault), max_retries=3)
    assert done.response.finish_reason is fault.finish_reason
    assert len(done.requests) == 1
    summary = done.stats.summary()
    assert (summary["input_tokens"], summary["output_tokens"], summary["errors"]) == (
        server.input_tokens,
        server.output_tokens,
        {},
    )


ECHOES: dict[str, Callable[[Recorded], Reply]] = {
    "in a 401": lambda request: Reply(401, says=f"Incorrect API key provided: {request.key}."),
    "in a 400, cut": lambda request: Reply(400, says=f"{'x' * 290} {request.key}"),
    "in a 404": lambda request: Reply(404, says=f"no model for {request.headers}"),
    "in a 500 that is repeated": lambda request: Reply(500, says=f"cannot pass on {request.key}"),
    "in a 502 of HTML": lambda request: Reply(502, body=f"<html>{request.headers}</html>"),
    "in a 429": lambda request: Reply(429, says=f"too many for {request.key}"),
    "in an error's code": lambda request: Reply(
        400, body={"error": {"message": "no", "code": request.key, "status": request.key}}
    ),
    "in an error's type": lambda request: Reply(
        400, body={"type": "error", "error": {"type": request.key, "param": request.key}}
    ),
    "in an error of another shape": lambda request: Reply(400, body={"detail": [request.headers]}),
    "in the id of a failed request": lambda request: Reply(
        500, headers={"x-request-id": str(request.key), "request-id": str(request.key)}
    ),
    "in the id of an answer": lambda request: Reply(
        headers={"x-request-id": str(request.key), "request-id": str(request.key)}
    ),
    "in the model that answers": lambda request: Reply(
        body=request.wire_format.answer(
            Answer(1, str(request.key), "{}", "stop", None, Counts(100, 0, 10))
        )
    ),
    "in a 200 of JSON": lambda request: Reply(body={"error": {"message": str(request.headers)}}),
    "in a 200 of HTML": lambda request: Reply(body=f"<html>{request.headers}</html>"),
    "in an answer": lambda request: Reply(content=f"You are {request.key}"),
    "in a refusal": lambda request: Reply(refusal=f"I do not like {request.key}."),
}


@pytest.mark.parametrize("echo", ECHOES)
@endpoints
def test_a_key_that_is_sent_back_is_shown_nowhere(
    endpoint: Endpoint, echo: str, server: LoopbackServer, log: pytest.LogCaptureFixture
) -> None:
    done = play(
        endpoint,
        server,
        lambda request, number: ECHOES[echo](request),
        max_retries=1,
        retry_delay_s=RETRY_DELAY_S,
    )
    error = done.error
    if error is None:
        try:
            parse_answer(done.response)
        except LLMError as unusable:
            error = unusable
    assert error is None or isinstance(error, LLMError)
    shown = {
        "error": f"{error} {error!r} {vars(error) if error else ''}",
        "traceback": "".join(traceback.format_exception(error)) if error else "",
        "response": repr(done.responses),
        "statistics": f"{done.stats.summary()} {done.stats.by_model()}",
        "log": "\n".join(r.getMessage() for r in log.records if r.name == "dbt-osmosis"),
    }
    assert shown["log"]
    # Nor what is left of it where a text was cut.
    key = str(done.requests[0].key)
    assert [place for place, text in shown.items() if key[:16] in text] == []


def rejected(*rejections: Rejection) -> pytest.MarkDecorator:
    cells = [(e, r) for e in ENDPOINTS for r in rejections if e.provider in r.providers]
    return pytest.mark.parametrize(
        ("endpoint", "rejection"), cells, ids=[f"{e.provider}-{r.name}" for e, r in cells]
    )


@rejected(*REJECTIONS)
def test_what_an_endpoint_rejects_is_left_out_once_and_for_all(
    endpoint: Endpoint, rejection: Rejection, server: LoopbackServer
) -> None:
    done = play(endpoint, server, rejection.script(), calls=2, temperature=0.2, max_retries=0)
    assert done.answer == ANSWER
    forms = [form_of(request) for request in done.requests]
    accepted = replace(forms[0], **rejection.becomes)
    assert rejection.rejects(forms[0])
    assert len(forms) == rejection.repetitions + 2
    assert forms[-2:] == [accepted, accepted]
    assert [r.attempts for r in done.responses] == [rejection.repetitions + 1, 1]
    if rejection.becomes.get("bound"):
        first, *_, last = done.requests
        assert last.body[str(accepted.bound)] == first.body[str(forms[0].bound)]
    assert done.waits == []
    summary = done.stats.summary()
    assert (summary["requests"], summary["errors"]) == (len(forms), {})


@endpoints
def test_what_was_learned_serves_the_whole_run(endpoint: Endpoint, server: LoopbackServer) -> None:
    rejection = next(r for r in REJECTIONS if endpoint.provider in r.providers)
    server.script = rejection.script()
    config = endpoint.config(server, temperature=0.2)
    for _ in range(3):
        build_client(config, LLMUsageStats()).complete(REQUEST)
    assert len(server.requests) == 4


@endpoints
def test_an_endpoint_that_rejects_what_is_not_sent_is_given_up(
    endpoint: Endpoint, server: LoopbackServer
) -> None:
    says = "temperature, strict, response_format, output_config, max_tokens, max_completion_tokens"
    done = play(endpoint, server, lambda request, number: Reply(400, says=says), temperature=0.2)
    assert isinstance(done.error, LLMAPIError)
    assert done.error.status_code == 400
    # Temperature, the bound under both names, strict, schema, JSON: each can be given up once.
    assert done.error.attempts == len(done.requests) <= 7
    forms = [form_of(request) for request in done.requests]
    assert len(set(forms)) == len(forms)


def test_a_token_that_runs_out_is_renewed(server: LoopbackServer) -> None:
    endpoint = next(e for e in ENDPOINTS if e.provider == "azure-openai-ad")
    with sign_in(lifetime_s=0):
        done = play(endpoint, server, calls=2)
    keys = [request.key for request in done.requests]
    assert len(set(keys)) == 2
    with sign_in():
        kept = play(endpoint, server, calls=2)
    assert len({request.key for request in kept.requests[2:]}) == 1


def test_the_table_shows_requests_and_outcome(server: LoopbackServer) -> None:
    openai = ENDPOINTS[0]
    cells = {f.name: cell_of_fault(openai, f, server) for f in (*PASSING[:1], *FINAL, *STOPPED)}
    assert cells["429"] == "2 → text, 3 → RateLimitError"
    assert cells["401"] == "1 → APIError †"
    assert cells["400, wrong key"] == "-"
    assert cells["refusal"] == "1 → refusal"
    assert cell_of_rejection(openai, REJECTIONS[0], server) == "2 → text"
