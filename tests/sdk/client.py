"""Runs one program of a client twice at the same time, straight to the upstream and through the gateway.

What the two print, and what the upstream saw of the two, must be the same; each test adds what it should
be. Here too is what the gateway wrote down of its half.
"""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from proxy.record import UsageRecord
from proxy.usage import Outcome, Usage
from tests.sdk.gateway import TEAM, UPSTREAM_KEY, Gateway

DIRECT_KEY = "a-callers-own-google-key"
TIMEOUT_SECONDS = 90.0
# Ours and Google's settings of whoever runs the tests would send the clients elsewhere.
FOREIGN = ("GOOGLE_", "GEMINI_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_", "PYTHON", "NODE_", "HTTP_PROXY", "HTTPS_PROXY")

CHANGED = frozenset({"host", "connection", "content-length", "x-goog-api-key", "authorization"})
CHANGED |= {"sec-websocket-key", "sec-websocket-extensions"}  # of one hop


class Received(NamedTuple):
    """A request as the simulator saw it, its target without a key."""

    method: str
    target: str
    size: int
    body_sha256: str
    headers: dict[str, str]
    key: str | None

    def holds(self, secret: str) -> bool:
        return any(secret in text for text in (self.target, *self.headers.values()))


class Call(NamedTuple):
    """What a record must say of one call."""

    operation: str
    model: str | None
    status: int = 200


class Run(NamedTuple):
    """What the client printed, equal on both ways, and the records of the way through the gateway."""

    output: str
    records: list[UsageRecord]

    @property
    def seen(self) -> Any:
        return json.loads(self.output)


def run(
    gateway: Gateway,
    simulator: str,
    command: Sequence[str],
    calls: Sequence[Call],
    environment: Mapping[str, str] | None = None,
    *,
    same_bodies: bool = True,
    told: Callable[[str], str] = str,
) -> Run:
    """Run the program both ways, and check everything that holds for any client.

    Args:
        calls: what the program does, in its order.
        same_bodies: False for a program that says something else each time it runs.
        told: the URL that the program is told instead of one of ours.
    """
    recorded, received = len(gateway.records), len(_ledger(simulator))
    processes = [
        _start(command, {**(environment or {}), "WEIR_URL": told(url), "WEIR_KEY": key})
        for url, key in ((simulator, DIRECT_KEY), (gateway.url, gateway.key))
    ]
    direct, through = [_finish(process) for process in processes]
    assert through == direct

    records = _recorded(gateway, recorded, calls)
    arrived = _ledger(simulator)[received:]
    _check_upstream(
        [request for request in arrived if request.key == DIRECT_KEY],
        [request for request in arrived if request.key == UPSTREAM_KEY],
        same_bodies=same_bodies,
    )
    assert not any(request.key not in (DIRECT_KEY, UPSTREAM_KEY) or request.holds(gateway.key) for request in arrived)
    return Run(through, records)


def run_through(
    gateway: Gateway, command: Sequence[str], calls: Sequence[Call], environment: Mapping[str, str] | None = None
) -> Run:
    """Run the program through the gateway alone: for one that by its nature sees something else each time."""
    recorded = len(gateway.records)
    output = _finish(_start(command, {**(environment or {}), "WEIR_URL": gateway.url, "WEIR_KEY": gateway.key}))
    return Run(output, _recorded(gateway, recorded, calls))


def counts(usage: Usage | None) -> dict[str, int]:
    """A record's usage under the names that the clients print."""
    assert usage is not None
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "thought": usage.thought_tokens,
        "total": usage.total_tokens,
    }


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    return subprocess.Popen(
        command,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    try:
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    assert process.returncode == 0, f"{process.args!r} ended with {process.returncode}:\n{output}\n{errors}"
    return output


def _recorded(gateway: Gateway, before: int, calls: Sequence[Call]) -> list[UsageRecord]:
    records = gateway.records_after(before, len(calls))
    assert [Call(record.operation, record.model, record.status or 0) for record in records] == list(calls)
    for record in records:
        _check(record, gateway)
    return records


def _check(record: UsageRecord, gateway: Gateway) -> None:
    assert (record.team, record.key_id, record.route) == (TEAM, gateway.key_id, "gemini")
    assert (record.endpoint, record.region) == ("simulator", "global")
    assert [(attempt.endpoint, attempt.status) for attempt in record.attempts] == [("simulator", record.status)]
    assert (record.outcome, record.reason) == (Outcome.COMPLETED, None)
    assert record.first_byte_ms is not None
    assert 0 < record.first_byte_ms <= record.total_ms


def _check_upstream(direct: list[Received], through: list[Received], *, same_bodies: bool) -> None:
    """Method, target, body and headers are the same, but for whose key it is and what belongs to one hop."""
    assert [(request.method, request.target) for request in through] == [
        (request.method, request.target) for request in direct
    ]
    for ours, theirs in zip(through, direct, strict=True):
        assert _end_to_end(ours) == _end_to_end(theirs)
        if same_bodies:
            assert (ours.body_sha256, ours.size) == (theirs.body_sha256, theirs.size)


def _end_to_end(request: Received) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name not in CHANGED}


def _ledger(simulator: str) -> list[Received]:
    with urllib.request.urlopen(f"{simulator}/_simulator/ledger") as answer:
        entries = json.load(answer)["entries"]
    return [
        Received(
            entry["method"],
            entry["target"].replace(f"?key={DIRECT_KEY}", ""),
            entry["body_bytes"],
            entry["body_sha256"],
            {name.lower(): value for name, value in entry["headers"]},
            entry["key"],
        )
        for entry in entries
    ]
