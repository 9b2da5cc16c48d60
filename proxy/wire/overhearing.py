"""What a request's body asks for, heard from a copy of its pieces: undone of its coding, kept as a skeleton.

The relay makes one. Where a plugin must know the intent, the body is read whole into it before anything goes up;
where only the bill must, it overhears the pieces as they go up, keeps none of them and refuses nothing.
"""

import asyncio
import logging

from proxy.exchange import Exchange
from proxy.gemini.backlog import STEP_BYTES
from proxy.gemini.framings import Document
from proxy.gemini.inflate import BadCoding, Inflate
from proxy.gemini.intent import asked_usage, read_intent, unread
from proxy.gemini.skeleton import REQUEST_BYTES
from proxy.head import RequestHead
from proxy.operation import Intent, Operation
from proxy.refusal import Refusal
from proxy.usage import UsageState

_log = logging.getLogger("proxy.wire")


class Hearing:
    """One body, heard once."""

    def __init__(self, operation: Operation, head: RequestHead, most_bytes: int) -> None:
        """`most_bytes`: of the body with its coding undone."""
        self._operation = operation
        self._head = head
        self._most_bytes = most_bytes
        self._document = Document(REQUEST_BYTES)
        self._bytes = 0
        self._deaf = False
        coding = head.headers.get("content-encoding")
        try:
            self._inflate = Inflate(coding) if coding else None
        except KeyError:
            self._inflate = None  # then it is no JSON, and whoever must know will say so

    async def hear(self, piece: bytes) -> None:
        """Raises ValueError, Refusal (too large)."""
        if self._inflate is None:
            self._take(piece)
            return
        since = 0
        try:
            for part in self._inflate.pieces(piece):
                self._take(part)
                since += len(part)
                if since >= STEP_BYTES:  # a bomb is its sender's business, and must not become everybody's
                    since = 0
                    await asyncio.sleep(0)
        except BadCoding:
            coding = self._head.headers.get("content-encoding")
            raise ValueError(f"The request's body is not what its Content-Encoding says: {coding}.") from None

    def _take(self, part: bytes) -> None:
        self._bytes += len(part)
        if self._inflate is not None and self._bytes > self._most_bytes:
            message = f"The request's body inflates to more than the {self._most_bytes} bytes that can be looked into."
            raise Refusal(413, message, reason="BODY_TOO_LARGE")
        self._document.feed(part)

    def intent(self) -> Intent:
        """Once, when all was heard. Raises ValueError."""
        skeleton = self._document.take()
        if skeleton is None:
            return read_intent(self._operation, self._head.target, b"", truncated_from=self._bytes)
        return read_intent(self._operation, self._head.target, skeleton)

    async def overhear(self, piece: bytes) -> None:
        """As `hear`, for nobody who could refuse: of what cannot be heard the path alone is known."""
        if self._deaf:
            return
        try:
            await self.hear(piece)
        except (ValueError, Refusal):
            self._deaf = True
        except asyncio.CancelledError:  # half of it was heard, and will not be heard again
            self._deaf = True
            raise
        except Exception:
            self._fail()

    def overheard(self) -> Intent:
        if not self._deaf:
            try:
                return self.intent()
            except ValueError:
                pass
            except Exception:
                self._fail()
        return unread(self._operation, self._bytes)

    def _fail(self) -> None:
        self._deaf = True
        _log.exception("overhearing_failed")


def note_what_was_asked(exchange: Exchange, hearing: Hearing | None, status: int) -> None:
    """Put on an exchange what its bill needs of its request, where nobody has asked before, and its answer has not."""
    if exchange.intent_read is None and hearing is not None:
        exchange.intent_read = hearing.overheard()
    if exchange.usage is None and exchange.intent_read is not None and 200 <= status < 300:
        exchange.usage = asked_usage(exchange.intent_read)
        if exchange.usage is not None:
            exchange.usage_state = UsageState.PARTIAL  # asked for, not counted: an estimate
