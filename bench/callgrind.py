"""A profile as callgrind writes it: instructions by function, its own and with all that it calls.

Format: https://valgrind.org/docs/manual/cl-format.html. Only what `instructions.py` needs is read: one event, names
compressed as `(12) name`, calls with their inclusive cost on the next line.
"""

import re
from collections import Counter
from collections.abc import Iterable

_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")
_RECURSION = re.compile(r"'\d+$")  # callgrind tells the depths of a recursion apart


class Profile:
    """Instructions of one dump.

    Attributes:
        own: of each function itself.
        whole: of each function and all that it calls; too much for what calls itself.
        calls: how often each was called.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.own: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._called: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        caller = callee = ""
        times = 0
        for line in map(str.rstrip, lines):
            if line.startswith("fn="):
                caller = self._name(line[3:])
            elif line.startswith("cfn="):
                callee = self._name(line[4:])
            elif line.startswith("calls="):
                times = int(line[6:].split()[0])
            elif line[:1].isdigit() or line[:1] in {"+", "-", "*"}:
                cost = int(line.split()[1])
                if not times:
                    self.own[caller] += cost
                    continue
                self.calls[callee] += times
                if caller != callee:
                    self._called[caller] += cost
                times = 0

    @property
    def total(self) -> int:
        return self.own.total()

    @property
    def whole(self) -> Counter[str]:
        return self.own + self._called

    def _name(self, written: str) -> str:
        """Said once in full, then by its number."""
        match = _NAME.match(written)
        if match is None:
            return _RECURSION.sub("", written)
        number, name = match.groups()
        if name is not None:
            self._names[number] = _RECURSION.sub("", name)
        return self._names[number]
