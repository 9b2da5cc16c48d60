"""Plain numbers of exchanges that are alike, for `/metrics`: counted with each exchange, made series of at a scrape.

`metrics.py` owns them and bounds how many there are. Nothing here knows what a series is.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple, final

from proxy.price import Charge
from proxy.usage import Outcome, Usage

# Text answers in 0.3 to 10 s, a 4K image in 20 to 60, thinking models and video take minutes.
BUCKETS: Final[list[float]] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0]

KindTuple = tuple[str | None, str | None, str | None, str, Outcome, int | None]


class Kind(NamedTuple):
    """What exchanges are alike by, and a `KindTuple` with names: the labels of `weir_exchanges_total`, in its order."""

    route: str | None
    team: str | None
    model: str | None
    operation: str
    outcome: Outcome
    status: int | None


@final
class Count:
    """How often something was seen; to be counted up where it stands, without a second look-up."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


@final
class Times:
    """A histogram: how many fell into each bucket and no smaller one, and their sum."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)  # the last: above them all
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        bucket = 0
        for bound in BUCKETS:  # most fall into the first ones
            if seconds <= bound:
                break
            bucket += 1
        self.counts[bucket] += 1
        self.seconds += seconds

    def merge(self, other: "Times") -> None:
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds


@final
class Sum:
    """Of amounts in one currency, exact.

    Attributes:
        parts: a whole number of a decimal, and which one. They change together: a scrape reads them from a thread.
    """

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: tuple[int, int] = (0, 0)

    def add(self, units: int, decimals: int) -> None:
        """As `whole` gives them."""
        sum_, known = self.parts
        if decimals < known:
            units *= _tens(known - decimals)
        elif decimals > known:
            sum_ *= _tens(decimals - known)
            known = decimals
        self.parts = (sum_ + units, known)

    @property
    def amount(self) -> Decimal:
        units, decimals = self.parts
        return Decimal(f"{units}E-{decimals}")  # which rounds nothing


def whole(amount: str) -> tuple[int, int]:
    """An amount in fixed-point notation as a whole number of its last decimal, and how many decimals it has.

    Takes a quarter of the time of a Decimal, which is added to others for as long again.
    """
    if "." not in amount:
        return int(amount), 0
    if amount.startswith("0."):  # nearly all are less than one
        return int(amount[2:]), len(amount) - 2
    before, _, behind = amount.partition(".")
    return int(before + behind), len(behind)


_TENS: Final[list[int]] = [10**power for power in range(64)]


def _tens(power: int) -> int:
    return _TENS[power] if power < len(_TENS) else int(10**power)


@final
class Tally:
    """The exchanges of one kind."""

    __slots__ = (
        "cached",
        "costs",
        "exchanges",
        "first_byte",
        "images",
        "input",
        "output",
        "prices",
        "thought",
        "tool",
        "total",
    )

    def __init__(self) -> None:
        self.exchanges = 0
        self.first_byte = Times()
        self.total = Times()
        self.input = 0
        self.cached = 0
        self.tool = 0
        self.output = 0
        self.thought = 0
        self.images = 0
        self.costs: dict[str, Sum] = {}  # by currency
        self.prices: dict[str, Sum] = {}

    def add_usage(self, usage: Usage) -> None:
        self.input += usage.input_tokens
        self.cached += usage.cached_tokens
        self.tool += usage.tool_tokens
        self.output += usage.output_tokens
        self.thought += usage.thought_tokens
        self.images += usage.images

    @property
    def tokens(self) -> Mapping[str, int]:
        """By the word that `weir_tokens_total` has for them."""
        return {
            "input": self.input,
            "cached": self.cached,
            "tool": self.tool,
            "output": self.output,
            "thought": self.thought,
        }

    def add_charge(self, charge: Charge) -> None:
        cost, price = charge.cost_text, charge.price_text
        units = decimals = 0
        if cost is not None:
            units, decimals = whole(cost)
            if units:
                _sum(self.costs, charge.cost_currency).add(units, decimals)
        if price is not None:
            if price is not cost:  # it is, where a team pays what Google charges
                units, decimals = whole(price)
            if units:
                _sum(self.prices, charge.price_currency).add(units, decimals)


def _sum(sums: dict[str, Sum], currency: str) -> Sum:
    found = sums.get(currency)
    if found is None:
        found = sums[currency] = Sum()
    return found
