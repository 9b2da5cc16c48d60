"""Which counters an exchange of a team is held to: the team's limits and every parent's.

`TeamQuota` has one `Plan` made for each team and configuration. It decides no amount of tokens or images: those
depend on the request.
"""

from collections.abc import Mapping

import msgspec

from proxy import Limit, Take, Team


class Rule(msgspec.Struct, frozen=True):
    """A team's limit and its counter in the store."""

    team: str
    limit: Limit
    counter: str

    def take(self, amount: int, ceiling: int | None = None) -> Take:
        return Take(self.counter, amount, self.limit.amount if ceiling is None else ceiling, self.limit.per)


class Plan(msgspec.Struct, frozen=True):
    """A lineage's rules."""

    rules: dict[str, Rule]  # by counter
    calls: tuple[Take, ...]  # requests and concurrency: one each, the same for every exchange
    called: Mapping[str, int]  # what remains of them once an endpoint was tried
    tokens: tuple[Rule, ...]
    images: tuple[Rule, ...]


def rules_of(team: Team) -> list[Rule]:
    """The team's rules; of two limits of one unit and window the smaller counts."""
    smallest: dict[str, Rule] = {}
    for limit in sorted(team.limits, key=lambda limit: limit.amount):
        counter = f"team/{team.name}/{limit.unit}" + (f"/{limit.per}" if limit.per else "")
        smallest.setdefault(counter, Rule(team.name, limit, counter))
    return list(smallest.values())


def plan_of(lineage: tuple[Team, ...]) -> Plan:
    rules = [rule for team in lineage for rule in rules_of(team)]
    return Plan(
        rules={rule.counter: rule for rule in rules},
        calls=tuple(rule.take(1) for rule in rules if rule.limit.unit in ("requests", "concurrent")),
        called={rule.counter: 1 for rule in rules if rule.limit.unit == "requests"},
        tokens=tuple(rule for rule in rules if rule.limit.unit == "tokens"),
        images=tuple(rule for rule in rules if rule.limit.unit == "images"),
    )
