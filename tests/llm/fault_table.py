"""The matrix as a table for people: ``python -m tests.llm.fault_table`` prints Markdown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from dbt_osmosis_llm.llm.exceptions import LLMError
from tests.limits import patience
from tests.llm.endpoints import ANSWER, ENDPOINTS, Endpoint, Play, own_clients, play, sign_in
from tests.llm.faults import FAULTS, Fault
from tests.llm.rejections import REJECTIONS, Rejection
from tests.server import LoopbackServer

_LEGEND = """\
Requests made → what came of it, for one question with two retries allowed; where repeating can
help, first for a fault that happens once, then for one that lasts. Our errors stand without the
prefix LLM; † also ends the run. A bold one would be a vendor's error that came through.
"""
_TIMEOUT_S = 0.4


def outcome(done: Play) -> str:
    """Return one cell's text for what came of a question."""
    if done.error is None:
        finish = done.response.finish_reason.value
        text = finish if finish != "stop" else "text" if done.answer == ANSWER else "wrong text"
    else:
        name = type(done.error).__name__
        text = name.removeprefix("LLM") if isinstance(done.error, LLMError) else f"**{name}**"
        if getattr(done.error, "ends_run", False):
            text += " †"
    return f"{len(done.requests)} → {text}"


def cell_of_fault(endpoint: Endpoint, fault: Fault, server: LoopbackServer) -> str:
    """Return what comes of a fault that happens once and of one that lasts."""
    if endpoint.wire not in fault.wires:
        return "-"
    cells = []
    for times in (1, 99) if fault.passes else (99,):
        server.reset()
        with own_clients():
            done = play(
                endpoint,
                server,
                lambda request, number, times=times: fault.reply() if number <= times else None,  # type: ignore[misc]
                max_retries=2,
                timeout_s=_TIMEOUT_S * patience() if fault.is_slow else 20.0,
            )
        cells.append(outcome(done))
    return ", ".join(cells)


def cell_of_rejection(endpoint: Endpoint, rejection: Rejection, server: LoopbackServer) -> str:
    """Return what comes of a parameter that is rejected as long as it is sent."""
    if endpoint.provider not in rejection.providers:
        return "-"
    server.reset()
    with own_clients():
        return outcome(play(endpoint, server, rejection.script(), temperature=0.2))


def rows(server: LoopbackServer) -> Iterator[list[str]]:
    """Yield the table's rows, headings first."""
    yield ["fault", *(endpoint.provider for endpoint in ENDPOINTS)]
    yield ["---"] * (len(ENDPOINTS) + 1)
    for fault in FAULTS:
        yield [fault.name, *(cell_of_fault(e, fault, server) for e in ENDPOINTS)]
    for rejection in REJECTIONS:
        name = f"rejects {rejection.name}"
        yield [name, *(cell_of_rejection(e, rejection, server) for e in ENDPOINTS)]


def main(write: Callable[[str], None] = print) -> None:
    """Print the table."""
    logging.getLogger("dbt-osmosis").setLevel(logging.CRITICAL)
    write(_LEGEND)
    with LoopbackServer().running() as server, sign_in():
        for row in rows(server):
            write(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
