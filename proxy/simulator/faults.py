"""Faults on demand: what should go wrong with an answer, written as a short text.

A caller asks for one request with `x-sim-fault: <spec>`; a test orders them for an account or model through the
control calls or `simulator.faults`. `latency=2.5,status=429;retry=47` reads: wait, then answer 429.
Refuses a spec it does not know, by name: a fault that silently does nothing makes a test that proves nothing.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from proxy.simulator import errors
from proxy.simulator.errors import GoogleError

_FORMS = (
    "latency=SECONDS, status=CODE[;retry=SECONDS][;per=minute|day][;bare][;kind=demand|overloaded|deadline], "
    "cut=BYTES[;reset], hang, stall=BYTES, slow=MILLISECONDS, midstream-error[=CODE]"
)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is to go wrong with one answer; the empty Fault is an answer without one."""

    latency_seconds: float = 0.0
    status: int | None = None
    retry_seconds: float = 47.0
    per: str = "minute"
    bare: bool = False
    kind: str = "demand"
    cut_bytes: int | None = None
    reset: bool = False
    hang: bool = False
    stall_bytes: int | None = None
    slow_seconds: float = 0.0
    midstream_error: int | None = None

    def error(self, model: str, *, vertex: bool, dedicated: bool) -> GoogleError | None:
        """The catalogue's error for the status asked, or None when the answer is to be a real one."""
        if self.status is None:
            return None
        if self.status == 429:
            if self.bare or vertex:
                return errors.resource_exhausted(vertex=vertex, dedicated=dedicated)
            return errors.quota_exceeded(model or "gemini-2.5-flash", self.retry_seconds, self.per)
        if self.status == 503:
            return errors.unavailable(self.kind)
        return errors.plain(self.status)


def parse(spec: str) -> Fault:
    """Raises ValueError that names the part it does not know and the forms it does."""
    fields: dict[str, float | int | str | bool] = {}
    for part in filter(None, (part.strip() for part in spec.split(","))):
        first, *options = part.split(";")
        name, _, value = first.partition("=")
        try:
            fields |= _READ[name.strip()](value.strip())
            for option in options:
                fields |= _read_option(name.strip(), option.strip())
        except (KeyError, ValueError):
            raise ValueError(f'fault "{part}" is not understood; the forms are: {_FORMS}') from None
    fault = msgspec.convert(fields, Fault)
    for code in (fault.status, fault.midstream_error):
        if code is not None and not 400 <= code <= 599:
            raise ValueError(f"a fault's status is from 400 to 599, found {code}")
    return fault


_READ: dict[str, Callable[[str], dict[str, float | int | bool]]] = {
    "latency": lambda value: {"latency_seconds": float(value)},
    "status": lambda value: {"status": int(value)},
    "cut": lambda value: {"cut_bytes": int(value)},
    "stall": lambda value: {"stall_bytes": int(value)},
    "slow": lambda value: {"slow_seconds": float(value) / 1000},
    "hang": lambda _: {"hang": True},
    "midstream-error": lambda value: {"midstream_error": int(value or 503)},
}


def _read_option(name: str, option: str) -> dict[str, float | int | str | bool]:
    key, _, value = option.partition("=")
    match name, key, value:
        case "status", "retry", _:
            return {"retry_seconds": float(value)}
        case "status", "per", "minute" | "day":
            return {"per": value}
        case "status", "kind", "demand" | "overloaded" | "deadline":
            return {"kind": value}
        case "status", "bare", "":
            return {"bare": True}
        case "cut", "reset", "":
            return {"reset": True}
        case _:
            raise ValueError(f'no option "{option}"')


class Order(msgspec.Struct):
    """A standing order: give `fault` to the calls of this account and model, `count` times or until cleared."""

    fault: str
    key: str | None = None
    model: str | None = None
    count: int | None = None

    def fits(self, account: str | None, model: str) -> bool:
        return (self.key is None or self.key == account) and (self.model is None or fnmatchcase(model, self.model))


class Faults:
    """The standing orders, oldest first. The first that fits a call is used up by it."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def add(self, fault: str, *, key: str | None = None, model: str | None = None, count: int | None = None) -> None:
        """`key` and `model` narrow it (a model may be a pattern, `gemini-3*`); raises ValueError on a bad spec."""
        parse(fault)
        if count is not None and count < 1:
            raise ValueError(f"count must be 1 or more, found {count}")
        self.orders.append(Order(fault, key, model, count))

    def clear(self) -> None:
        self.orders.clear()

    def take(self, account: str | None, model: str) -> str:
        """The spec of the first order that fits, used up by one; empty when nothing is to go wrong."""
        order = next((order for order in self.orders if order.fits(account, model)), None)
        if order is None:
            return ""
        if order.count is not None:
            order.count -= 1
            if order.count == 0:
                self.orders.remove(order)
        return order.fault
