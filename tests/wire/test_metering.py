"""A fault in the meter costs the counts of one exchange, never its bytes."""

from proxy.operation import Operation
from proxy.usage import UsageState
from proxy.wire.metering import Metering
from tests.support import answer
from tests.support.service_log import service_log

GENERATE = Operation("generateContent", api="gemini", model="gemini-2.5-flash", generates=True)
BODY = b'{"candidates":[],"usageMetadata":{"promptTokenCount":3,"totalTokenCount":7}}'


class Faulty:
    error_in_stream = None

    def feed(self, piece: bytes) -> None:
        raise KeyError("a bug")

    def finish(self, *, complete: bool) -> None:
        raise KeyError("a bug")


def test_what_it_reads() -> None:
    metering = Metering(GENERATE, answer(200, {"Content-Type": "application/json"}))
    metering.feed(BODY)
    usage, state, error = metering.finish(complete=True)
    assert usage is not None
    assert (usage.total_tokens, state, error) == (7, UsageState.FINAL, None)


def test_a_fault_is_logged_once_and_says_that_there_are_no_counts() -> None:
    metering = Metering(GENERATE, answer())
    metering._meter = Faulty()  # type: ignore[assignment]
    with service_log() as log:
        metering.feed(BODY)
        metering.feed(BODY)
        assert metering.finish(complete=True) == (None, UsageState.NONE, None)
    assert "metering_failed" in log.text
    assert log.text.count("metering_failed") == 1


def test_a_fault_at_the_end_is_fenced_too() -> None:
    metering = Metering(GENERATE, answer())
    metering._meter = Faulty()  # type: ignore[assignment]
    with service_log() as log:
        assert metering.finish(complete=True) == (None, UsageState.NONE, None)
    assert "metering_failed" in log.text
