"""The results of a batch, when somebody reads them: the sum over its responses (Gemini fact 4.4).

They come inlined in the batch, or as lines of a file, each with a usage of its own. The meter makes one where an
operation may bring such. A response that failed cost nothing; a batch that is not done has none yet. Whoever reads
them again is told nothing else: that a batch is charged once is for its name to say (`once`).
"""

from typing import Any

import msgspec

from proxy.gemini.answers import ABSENT
from proxy.gemini.usage_fields import Reading
from proxy.gemini.usage_sum import add
from proxy.operation import Operation
from proxy.usage import Usage

_TIER = "batch"  # whatever tier a response names: half the price, for being in a batch


class _Batch(msgspec.Struct):
    done: Any = None


class _Line(msgspec.Struct):
    response: msgspec.Raw = ABSENT


class _CompatibleResponse(msgspec.Struct):
    body: msgspec.Raw = ABSENT


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_compatible = msgspec.json.Decoder(_CompatibleResponse).decode


class Results:
    """What the responses of one batch used so far; a `Reading` of many answers."""

    error: str | None = None  # a batch outlives those of its responses
    unfinished = False

    __slots__ = ("_name", "_operation", "_runs", "_sum", "complete")

    def __init__(self, operation: Operation, name: str | None) -> None:
        """`name`: of what is read."""
        self._name = name
        self._operation = operation
        self._runs = False
        self._sum: Usage | None = None
        self.complete = True

    @property
    def once(self) -> str | None:
        return self._name if self.usage(None) is not None else None

    def read(self, document: bytes | None) -> None:
        """One response, or None for one too large to read. Never raises."""
        if document is None:
            self.complete = False
            return
        if not document or document.isspace():
            return
        try:
            self._read_line(document)
        except (ValueError, RecursionError):  # of msgspec
            self.complete = False

    def read_batch(self, document: bytes | None) -> None:
        """The batch around its responses. Never raises.

        One that broke off does not say whether it is done; but what holds responses is.
        """
        try:
            self._runs = document is not None and _decode_batch(document).done is not True
        except (ValueError, RecursionError):
            self.complete = False

    def usage(self, tier: str | None) -> Usage | None:
        """The sum; None where no response has counts, or the batch still runs."""
        if self._sum is None or self._runs:
            return None
        return msgspec.structs.replace(self._sum, tier=_TIER, response_id=None)

    def _read_line(self, line: bytes) -> None:
        response = _decode_line(line).response
        if response is not ABSENT and self._operation.api == "openai":
            response = _decode_compatible(response).body
        if response is ABSENT:
            return
        reading = Reading(self._operation)
        reading.read(bytes(response))
        self.complete = self.complete and reading.complete
        usage = reading.usage(None)
        if usage is not None:
            self._sum = add(self._sum, usage)
