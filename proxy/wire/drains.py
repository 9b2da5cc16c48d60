"""How many answers are being read on for callers that left; one count for all relays of a process."""


class Drains:
    """See the module."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def enter(self) -> bool:
        """False when there are enough; else `leave` must follow."""
        if self._count >= self._most:
            return False
        self._count += 1
        return True

    def leave(self) -> None:
        self._count -= 1
