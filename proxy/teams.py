"""The one live view of the teams: a reload replaces its content.

So a plugin instance kept across the reload sees the new teams. It refuses to hold counters; those are the store's.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar, final

from proxy.team import Team

T = TypeVar("T")
Lineage = tuple[Team, ...]  # a team and its parents, nearest first


@final
class Derived(Generic[T]):
    """What a plugin makes of a lineage, to be looked up by the team's name for each exchange."""

    __slots__ = ("_made", "_made_of", "_make", "_teams")

    def __init__(self, make: Callable[[Lineage], T], teams: "Teams") -> None:
        self._make = make
        self._teams = teams
        self._made: dict[str, T] = {}
        self._made_of: object = None  # the content it was made of

    def of(self, name: str) -> T | None:
        """Made once for each team, and again after a reload. None for a name that is not (any more) a team."""
        if self._made_of is not self._teams.lineages:
            self._made_of = self._teams.lineages
            self._made = {}
        made = self._made.get(name)
        return self._of_lineage(name) if made is None else made

    def _of_lineage(self, name: str) -> T | None:
        lineage = self._teams.lineages.get(name)
        if lineage is None:
            return None
        made = self._made[name] = self._make(lineage)
        return made


@final
class Teams(Mapping[str, Team]):
    """The teams of the current configuration, by name.

    Attributes:
        lineages: by name; another dict after each reload, of equal teams too.
    """

    def __init__(self, teams: Mapping[str, Team] | None = None) -> None:
        self.replace(teams or {})

    def replace(self, teams: Mapping[str, Team]) -> None:
        """Swap the content; called by the composition root at a reload only."""
        self._teams = dict(teams)
        self.lineages = {name: tuple(_lineage(name, self._teams)) for name in self._teams}
        self._price_lists = {name: _price_list(lineage) for name, lineage in self.lineages.items()}

    def lineage(self, name: str) -> Lineage:
        """The team and its parents, nearest first. A name that is not (any more) a team gives ()."""
        return self.lineages.get(name, ())

    def derive(self, make: Callable[[Lineage], T]) -> Derived[T]:
        """What a plugin makes of each lineage, for as long as that is what it was."""
        return Derived(make, self)

    def price_list(self, name: str | None) -> str | None:
        """The name of the price list that a team pays by: its own or its nearest parent's."""
        return None if name is None else self._price_lists.get(name)

    def __getitem__(self, name: str) -> Team:
        return self._teams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._teams)

    def __len__(self) -> int:
        return len(self._teams)


def _price_list(lineage: Lineage) -> str | None:
    return next((team.price_list for team in lineage if team.price_list is not None), None)


def _lineage(name: str, teams: Mapping[str, Team]) -> Iterator[Team]:
    team = teams.get(name)
    while team is not None:
        yield team
        team = teams.get(team.parent) if team.parent else None
