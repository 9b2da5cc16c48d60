"""Names of exchanges: `server.py` gives one to each, `app.py` to those that it only explains.

For the loop's thread alone, and no two processes give the same.
"""

import os
from typing import Final, final


def new_id(now: float) -> str:
    """Sortable by time, unique without asking anybody: 12 hex digits of milliseconds, 16 of chance.

    `now`: unix seconds.
    """
    if not _drawn:  # many at a time: asking the kernel costs more than all the rest of an id
        chances = os.urandom(4096).hex()
        _drawn.extend([chances[at : at + 16] for at in range(0, len(chances), 16)])
    milliseconds = int(now * 1000)
    quarter = milliseconds >> 8
    known, digits = _last.quarter
    if quarter != known:
        digits = f"{quarter:010x}"
        _last.quarter = (quarter, digits)
    return digits + _PAIRS[milliseconds & 0xFF] + _drawn.pop()


@final
class _Last:
    """The quarter of a second (256 ms) of the last id, and its digits: to format them is most of the work."""

    __slots__ = ("quarter",)

    def __init__(self) -> None:
        self.quarter: tuple[int, str] = (-1, "")


_last: Final = _Last()
_PAIRS: Final[list[str]] = [f"{number:02x}" for number in range(256)]
_drawn: Final[list[str]] = []
os.register_at_fork(after_in_child=_drawn.clear)  # else two processes would say the same
