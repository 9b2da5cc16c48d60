"""What the frames of a Live session mean: whom the first one asks for, and what the endpoint's say was used.

The wire hands over the first frame of the caller (`read_setup`), every frame of the endpoint (`LiveMeter`), and how
an endpoint ended a session that had not begun (`status_of_close`, `told`). A frame is one JSON document whether it
comes as text or as binary (Gemini fact 1.4). It changes no frame and refuses none but a first one that names no model
where a plugin must know it.
"""

from typing import Any

import msgspec

from proxy.gemini.answers import ABSENT, Grounding
from proxy.gemini.paths import bare_model
from proxy.gemini.prompt_size import prompt_size
from proxy.gemini.request_fields import read_fields
from proxy.gemini.skeleton import REQUEST_BYTES, Skeleton
from proxy.gemini.usage_fields import Reading
from proxy.gemini.usage_sum import add
from proxy.operation import Intent, Operation
from proxy.usage import Usage, UsageState

# RFC 6455 section 7.4.1 and its registry: the endpoint goes away, fails, restarts, asks to come again later.
_NOT_NOW = frozenset({1001, 1011, 1012, 1013})
_OVER_QUOTA = ("quota", "exhausted", "rate limit")  # Google says so in the text of a 1011


class _Name:
    """Stands for a value, so that msgspec asks `dec_hook` about each: of a repeated key it would keep the last."""


class _SetupNames(msgspec.Struct):
    model: _Name | None = None


class _FirstNames(msgspec.Struct):
    setup: _SetupNames | None = None


class _Content(msgspec.Struct, rename="camel"):
    turn_complete: Any = None
    model_turn: msgspec.Raw = ABSENT
    output_transcription: msgspec.Raw = ABSENT
    grounding_metadata: msgspec.Raw = ABSENT


class _ServerFrame(msgspec.Struct, rename="camel"):
    """Parts that may be large or odd stay raw: one of them must not hide the counts."""

    usage_metadata: msgspec.Raw = ABSENT
    server_content: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT


_decode_frame = msgspec.json.Decoder(_ServerFrame).decode
_decode_content = msgspec.json.Decoder(_Content | None).decode
_decode_counts = msgspec.json.Decoder(dict[str, Any] | None).decode
_decode_grounding = msgspec.json.Decoder(Grounding | None).decode


def read_setup(operation: Operation, frame: bytes) -> Intent:
    """The intent of a session, from its first frame. Raises ValueError, in words for the caller."""
    skeleton = Skeleton(REQUEST_BYTES)
    skeleton.feed(frame)
    body = skeleton.finish()
    named: list[Any] = []

    def note(_: type, value: Any) -> _Name:
        named.append(value)
        return _Name()

    try:
        decoded = None if skeleton.truncated else msgspec.json.decode(body)
        setup = decoded.get("setup") if isinstance(decoded, dict) else None
        if isinstance(setup, dict):
            msgspec.json.decode(body, type=_FirstNames, dec_hook=note)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        setup = None
    if not isinstance(setup, dict):
        raise ValueError('The first message of the session must be a JSON object with "setup".')  # noqa: TRY004
    if any(value != named[0] for value in named[1:]):
        raise ValueError("The setup names its model more than once.")
    model = bare_model(named[0]) if named and isinstance(named[0], str) and named[0] else None
    asked = read_fields(operation, model, setup)
    tokens, images = prompt_size(setup)
    return Intent(
        model=model,
        stream=True,
        input_tokens=tokens,
        input_images=images,
        max_output_tokens=asked.max_output_tokens,
        thinking_budget=asked.thinking_budget,
    )


def status_of_close(code: int, reason: str) -> int:
    """The HTTP status that says the same as an endpoint's close before the session began."""
    if code not in _NOT_NOW:
        return 400
    return 429 if any(word in reason.lower() for word in _OVER_QUOTA) else 503


def told(status: int, body: bytes) -> str:
    """What a caller whose handshake is done is told of a handshake that the endpoint refused: Google's own words."""
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        message = None
    return message if isinstance(message, str) and message else f"The endpoint refused the session with {status}."


class LiveMeter:
    """Sums what the turns of a session used.

    Within a turn the last counts said are its own; each turn counts the whole context again (Gemini fact 4.4), and
    is billed so. The counts come in frames of their own, before or after the one that ends the turn.
    """

    # As a `Meter` has them. A session tells its errors by closing; each is read once, and nothing in it is compressed.
    error_in_stream: str | None = None
    once: str | None = None
    behind = False

    __slots__ = ("_complete", "_operation", "_over", "_prompt", "_reading", "_total", "_uncounted")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._total: Usage | None = None  # of the turns before this one
        self._reading = Reading(operation)  # of this turn
        self._prompt: Any = None  # its promptTokenCount, as said last
        self._over = False  # its end was said; counts that still come may be its own
        self._uncounted = False  # the model spoke, and no counts have come since
        self._complete = True

    def feed(self, frame: bytes) -> None:
        """One whole frame of the endpoint. Never raises."""
        try:
            seen = _decode_frame(frame)
            content = _decode_content(seen.server_content) if seen.server_content is not ABSENT else None
            counts = _decode_counts(seen.usage_metadata) if seen.usage_metadata is not ABSENT else None
            grounding = content and content.grounding_metadata is not ABSENT and content.grounding_metadata
            queries = (found := _decode_grounding(grounding)) and found.web_search_queries if grounding else None
        except (ValueError, RecursionError):  # of msgspec
            self._complete = False
            return
        spoke = content is not None and (content.model_turn is not ABSENT or content.output_transcription is not ABSENT)
        if spoke or seen.tool_call is not ABSENT:
            if self._over:
                self._next_turn()
            self._uncounted = True
        self._reading.read_queries(queries)
        if counts:
            self._count(frame, counts.get("promptTokenCount"))
        if content is not None and content.turn_complete is True:
            self._over = True

    def finish(self, complete: bool) -> tuple[Usage | None, UsageState]:
        """`complete`: the session was closed as it should be. Usage is None exactly when the state is `none`."""
        self._next_turn()
        if self._total is None:
            return None, UsageState.NONE
        final = complete and self._complete and not self._uncounted
        return self._total, UsageState.FINAL if final else UsageState.PARTIAL

    def _count(self, frame: bytes, prompt: Any) -> None:
        # After the end of a turn that was counted, a longer context can only be the next turn's.
        if self._over and self._reading.counted and prompt != self._prompt:
            self._next_turn()
        self._reading.read(frame)
        self._prompt = prompt
        self._uncounted = False

    def _next_turn(self) -> None:
        usage = self._reading.usage(None)
        self._complete = self._complete and self._reading.complete
        if usage is not None:
            self._total = add(self._total, usage)
        self._reading = Reading(self._operation)
        self._prompt = None
        self._over = False
