"""An endpoint's answer, whichever road it came by: its head, and its body piece by piece."""

import re
from typing import Final, Protocol

from proxy.head import RawHeaders, ResponseHead
from proxy.wire.inflow import Sink

ONE_WRITE: Final = 64 << 10  # a body up to this goes out together with its head
REASON: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # of a phrase that can be passed on; RFC 9112 section 4


class AnswerBroke(Exception):
    """The answer began and did not end as it said it would."""


class Answer(Protocol):
    """See the module.

    Attributes:
        head: as it came.
        fields: end-to-end ones only, in order, ready to be sent down; Content-Length among them where it was declared.
        as_it_came: the lines of its head, where those of `fields` may go down as they are; else b"".
        length: of the body, where it is known: declared, or 0 where there can be none (HEAD, 204, 304).
    """

    head: ResponseHead
    fields: RawHeaders
    length: int | None
    as_it_came: bytes

    @property
    def uploading(self) -> bool:
        """It came before the request had gone up whole, and the rest is still going."""

    @property
    def over(self) -> bool:
        """Its body has ended, and all of it was taken."""

    def here(self) -> list[bytes]:
        """What is here already, [] where nothing is. Raises AnswerBroke."""

    async def more(self, sink: Sink) -> list[bytes]:
        """What comes next, where nothing is here; what `sink` takes meanwhile is not. Raises as `read`."""

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises AnswerBroke, or Interrupted when the exchange was."""

    def close(self) -> None:
        """Let go of it: the connection is used again if the body was read to its end, else it is cut."""


async def rest_of(answer: Answer) -> list[bytes]:
    """What is still to come of a small one. Raises as `Answer.read`."""
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    return pieces
