"""Teams and their limits: facts from the routes file that plugins decide by.

`Teams` is the one live view: a reload replaces its content, so that a plugin instance kept across the
reload sees the new teams. It refuses to hold counters; those are the store's.
"""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")

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


class Teams(Mapping[str, Team]):
    """The teams of the current configuration, by name."""

    def __init__(self, teams: Mapping[str, Team] | None = None) -> None:
        self.replace(teams or {})

    def replace(self, teams: Mapping[str, Team]) -> None:
        """Swap the content; called by the composition root at a reload only."""
        self._teams = dict(teams)
        self._lineages = {name: tuple(_lineage(name, self._teams)) for name in self._teams}

    def lineage(self, name: str) -> tuple[Team, ...]:
        """The team and its parents, nearest first. A name that is not (any more) a team gives ()."""
        return self._lineages.get(name, ())

    def derive(self, make: Callable[[tuple[Team, ...]], T]) -> Callable[[str], T | None]:
        """What a plugin makes of a lineage, to be looked up by the team's name for each exchange.

        Made once for each team, and again after a reload. None for a name that is not (any more) a team.
        """
        made: dict[str, tuple[tuple[Team, ...], T]] = {}

        def look_up(name: str) -> T | None:
            lineage = self._lineages.get(name)
            if lineage is None:
                return None
            known = made.get(name)
            if known is None or known[0] is not lineage:  # a reload makes new tuples, of equal teams too
                known = made[name] = (lineage, make(lineage))
            return known[1]

        return look_up

    def price_list(self, name: str | None) -> str | None:
        """The name of the price list that a team pays by: its own or its nearest parent's."""
        lists = (team.price_list for team in self.lineage(name)) if name is not None else ()
        return next((name for name in lists if name is not None), None)

    def __getitem__(self, name: str) -> Team:
        return self._teams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._teams)

    def __len__(self) -> int:
        return len(self._teams)


def _lineage(name: str, teams: Mapping[str, Team]) -> Iterator[Team]:
    team = teams.get(name)
    while team is not None:
        yield team
        team = teams.get(team.parent) if team.parent else None
