"""What was fed of an answer in a coding, and how much of it is inflated: a small input may hold gigabytes.

`meter.py` takes from it, so many bytes at a time, and lets others run in between. It gives up what grows beyond any
answer, as it does what cannot be inflated.
"""

from collections.abc import Iterator
from typing import Final, final

from proxy.gemini.inflate import BadCoding, Inflate

STEP_BYTES: Final = 64 * 1024  # at once: all that a bomb of so many bytes holds would take a tenth of a second
# Of one answer; the largest real ones have a tenth of it. But a file of results may be larger, and what grows no more
# than so many times is no bomb.
MOST_INFLATED: Final = 1 << 30
MOST_TIMES: Final = 32


@final
class Backlog:
    """See the module.

    Attributes:
        waits: there is more to take, as far as one can know before it is inflated.
        inflated_bytes: taken so far.
    """

    __slots__ = ("_fed_bytes", "_given_up", "_inflate", "_later", "_now", "inflated_bytes")

    def __init__(self, inflate: Inflate) -> None:
        self.inflated_bytes = 0
        self._inflate = inflate
        self._fed_bytes = 0
        self._now: Iterator[bytes] | None = None  # what is left of what is being inflated
        self._later: list[bytes] = []
        self._given_up = False

    @property
    def waits(self) -> bool:
        return self._now is not None

    def add(self, data: bytes) -> None:
        if self._given_up:
            return
        self._fed_bytes += len(data)
        if self._now is None:
            self._now = self._inflate.pieces(data)
        else:
            self._later.append(data)

    def take(self) -> bytes | None:
        """The next piece; None: all that was added is inflated. Raises BadCoding, and then nothing comes any more."""
        now = self._now
        try:
            while now is not None:
                if self.inflated_bytes > max(MOST_INFLATED, MOST_TIMES * self._fed_bytes):
                    raise BadCoding("a bomb")
                piece = next(now, None)
                if piece is not None:
                    self.inflated_bytes += len(piece)
                    return piece
                now = self._now = self._inflate.pieces(self._later.pop(0)) if self._later else None
        except BadCoding:
            self.give_up()
            raise
        return None

    def give_up(self) -> None:
        self._given_up = True
        self._now = None
        self._later.clear()
