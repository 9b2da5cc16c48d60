"""Which counters an exchange of a team is held to: the team's limits and every parent's.

`Quotas` has one `Plan` made for each team and configuration. It decides no amount of tokens or images: those
depend on the request.
"""

from typing import final

from proxy import Limit, Take, Team


@final
class Rule:
    """A team's limit and its counter in the store."""

    __slots__ = ("_amount", "_per", "counter", "limit", "team", "unit")

    def __init__(self, team: str, limit: Limit, counter: str) -> None:
        self.team = team
        self.limit = limit
        self.counter = counter
        # The limit's own, at hand: a take is made of them for each exchange.
        self.unit: str = limit.unit
        self._amount = limit.amount
        self._per = limit.per

    def take(self, amount: int, ceiling: int | None = None) -> Take:
        return Take(self.counter, amount, self._amount if ceiling is None else ceiling, self._per)


@final
class Plan:
    """A lineage's rules.

    Attributes:
        rules: by counter.
        calls: requests and concurrency: one each, the same for every exchange.
        called: what remains of them once an endpoint was tried.
        sized: there are tokens or images to take.
    """

    __slots__ = ("called", "calls", "images", "rules", "sized", "tokens")

    def __init__(self, lineage: tuple[Team, ...]) -> None:
        rules = [rule for team in lineage for rule in rules_of(team)]
        self.rules = {rule.counter: rule for rule in rules}
        self.calls = tuple([rule.take(1) for rule in rules if rule.unit in ("requests", "concurrent")])
        self.called = {rule.counter: 1 for rule in rules if rule.unit == "requests"}
        self.tokens = [rule for rule in rules if rule.unit == "tokens"]
        self.images = [rule for rule in rules if rule.unit == "images"]
        self.sized = bool(self.tokens or self.images)


def rules_of(team: Team) -> list[Rule]:
    """The team's rules; of two limits of one unit and window the smaller counts."""
    smallest: dict[str, Rule] = {}
    for limit in sorted(team.limits, key=lambda limit: limit.amount):
        counter = f"team/{team.name}/{limit.unit}" + (f"/{limit.per}" if limit.per else "")
        smallest.setdefault(counter, Rule(team.name, limit, counter))
    return list(smallest.values())
