"""Lines: readable back, and without a secret in them whatever a caller pasted where."""

from datetime import date
from typing import Any

import msgspec
import pytest
from structlog import DropEvent
from structlog.typing import EventDict, WrappedLogger

from plugins.usage_log.logger import record_logger
from plugins.usage_log.record import record_of
from proxy import Operation, Teams, Usage, UsageRecord
from tests.support import make_exchange

SECRETS = [
    "AIza" + "SyD-planted_planted_planted_plant1",
    "AQ." + "Ab8RN6planted-planted_planted",
    "ya29." + "a0planted-planted_planted",
    "weir_abcdef_" + "planted-planted_planted0123456789",
    "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJwbGFudGVkIn0" + ".planted-signature",
]


class Kept(list[bytes]):
    def write(self, id: str, line: bytes) -> None:
        self.append(line)


def line_of(**fields: Any) -> bytes:
    exchange = make_exchange(team="studio")
    record = record_of(exchange, exchange.started + 1, Teams())
    for name, value in fields.items():
        setattr(record, name, value)
    lines = Kept()
    record_logger(lines).write(record)
    (line,) = lines
    return line


def test_a_line_is_the_record_as_json() -> None:
    line = line_of(usage=Usage(input_tokens=3), labels={"plan": "flex"})

    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    record = msgspec.json.decode(line, type=UsageRecord)
    assert (record.id, record.team, record.usage) == ("x-1", "studio", Usage(input_tokens=3))
    assert record.labels == {"plan": "flex"}


def test_a_processor_may_change_every_record_or_drop_it() -> None:
    def add(_: WrappedLogger, verb: str, event: EventDict) -> EventDict:
        assert verb == "write"
        return {"record": msgspec.structs.replace(event["record"], labels={"site": "eu-1"})}

    def drop(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if event["record"].team == "nobody":
            raise DropEvent
        return event

    exchange = make_exchange(team="studio")
    record = record_of(exchange, exchange.started + 1, Teams())
    lines = Kept()
    logger = record_logger(lines, add, drop)
    logger.write(record)
    logger.write(msgspec.structs.replace(record, team="nobody"))
    (line,) = lines
    assert msgspec.json.decode(line, type=UsageRecord) == msgspec.structs.replace(record, labels={"site": "eu-1"})


def test_a_newline_in_a_field_stays_inside_the_line() -> None:
    assert line_of(model="a\nb").count(b"\n") == 1


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", ["path", "model", "labels"])
def test_a_pasted_credential_is_hidden(secret: str, place: str) -> None:
    text = f"/v1beta/{secret}/models"
    line = line_of(**{place: {"note": text} if place == "labels" else text})

    assert secret.encode() not in line
    assert b"planted" not in line
    assert b"***" in line
    msgspec.json.decode(line, type=UsageRecord)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_credential_in_headers_and_query_is_not_in_the_line(secret: str) -> None:
    exchange = make_exchange(
        target=f"/v1beta/models/m:generateContent?key={secret}&access_token={secret}",
        headers={"x-goog-api-key": secret, "Authorization": f"Bearer {secret}", "Cookie": f"a={secret}"},
        operation=Operation("generateContent", model="m"),
    )
    lines = Kept()
    record_logger(lines).write(record_of(exchange, exchange.started, Teams()))

    assert secret.encode() not in lines[0]
    assert b"planted" not in lines[0]


def test_the_id_of_a_key_is_not_taken_for_a_key() -> None:
    assert b'"key_id":"abcdef"' in line_of(key_id="abcdef")
    assert b'"model":"gemini-2.5-flash"' in line_of()


def test_lone_surrogates_do_not_lose_the_record() -> None:
    record = msgspec.json.decode(line_of(subject="\ud800ada", labels={"\udcff": "\udcff"}), type=UsageRecord)

    assert record.subject == "?ada"
    assert record.labels == {"?": "?"}


def test_a_label_of_any_type_does_not_lose_the_record() -> None:
    record = msgspec.json.decode(line_of(labels={"day": date(2026, 1, 31), "what": object}), type=UsageRecord)

    assert record.labels == {"day": "2026-01-31", "what": "<class 'object'>"}
