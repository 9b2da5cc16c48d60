"""A team and its limits: facts from the routes file that plugins decide by. `teams.py` holds the current ones."""

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

Unit = Literal["requests", "tokens", "images", "concurrent"]
Window = Literal["second", "minute", "hour", "day", "month"]


class Limit(msgspec.Struct, frozen=True):
    """At most `amount` of `unit` in each `per`; `per` is None for `concurrent`."""

    unit: Unit
    amount: int
    per: Window | None

    def __str__(self) -> str:
        return f"{self.amount} {self.unit}" + (f" per {self.per}" if self.per else "")


class Team(msgspec.Struct, frozen=True):
    """Who pays. Empty `models` or `regions` mean no restriction."""

    name: str
    parent: str | None = None
    tier: str | None = None
    models: tuple[str, ...] = ()  # shell patterns, case-sensitive
    regions: tuple[str, ...] = ()  # residency: only endpoints of these regions
    limits: tuple[Limit, ...] = ()
    price_list: str | None = None  # of the price file; None: the parent's, or else what Google charges

    def allows_model(self, model: str) -> bool:
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)
