"""Facts: made once, changed by nobody, equal by all that they hold. Part of the contract.

The hot path reads them all the time: compiled, a plain class's field is read as C reads a struct's, and no struct of
msgspec is (docs/decisions/0013).
"""


class Fact:
    """See the module. For classes whose fields `__init__` sets, and `names` lists."""

    __slots__ = ()

    def names(self) -> tuple[str, ...]:
        """Of all its fields. Compiled, a class keeps no __slots__ to be asked."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is type(self) and isinstance(other, Fact) and _held(other) == _held(self))

    def __hash__(self) -> int:
        return hash(tuple(_held(self)))

    def __repr__(self) -> str:
        held = [f"{name}={value!r}" for name, value in zip(self.names(), _held(self), strict=True)]
        return f"{type(self).__name__}({', '.join(held)})"


def _held(fact: Fact) -> list[object]:
    return [getattr(fact, name) for name in fact.names()]
