"""What the store must grant an exchange before it runs, and gets back once it has ended.

`TeamQuota` hands every exchange to its one `Quotas`. Reserving first keeps an overspend to what the estimates of calls
in flight were short of; checking first and counting afterwards lets all of them pass. It refuses to cut an answer under
way, to guess a model's name, or to count what no limit is set for.
"""

from asyncio import gather
from collections.abc import Awaitable
from typing import final

from plugins.team_quota.plan import Plan
from plugins.team_quota.refusal import REFUSED_BY, refusal
from plugins.team_quota.reservation import depends_on_body, sized_takes
from plugins.team_quota.settlement import amounts_used, calls_used
from proxy import Denied, Exchange, ExchangeNext, Grant, Intent, Store, Take, Teams


@final
class Quotas:
    """The limits of all teams, over one store."""

    __slots__ = ("_default_output_tokens", "_lease_seconds", "_plans", "_store")

    def __init__(self, teams: Teams, store: Store, *, lease_seconds: float, default_output_tokens: int) -> None:
        self._plans = teams.derive(Plan)
        self._store = store
        self._lease_seconds = lease_seconds
        self._default_output_tokens = default_output_tokens

    def plan(self, exchange: Exchange) -> Plan:
        """Of the principal's team. Raises the 403 of a team that there is not."""
        principal = exchange.principal
        team = principal.team if principal is not None else ""
        plan = self._plans.of(team)
        if plan is None:
            exchange.reply_headers.append(REFUSED_BY)
            raise exchange.refuse(403, f"Team {team} is not configured at this gateway.", reason="TEAM_UNKNOWN")
        return plan

    async def sizes(self, exchange: Exchange, plan: Plan) -> list[Take]:
        """What to take of tokens and images. Reads the body only for a limit that depends on it."""
        intent = await exchange.intent() if depends_on_body(exchange.operation, plan) else None
        return sized_takes(exchange, plan, intent, self._default_output_tokens)

    async def hold(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        """Run the rest of the exchange within the team's limits. Raises the Refusal of one that has no room.

        One coroutine for both grants: each more would be gone through at every wait of the exchange.
        """
        plan = self.plan(exchange)
        store = self._store
        calls: Grant | None = None
        sized: Grant | None = None
        failure: BaseException | None = None  # no `finally` that waits: see docs/decisions/0013
        try:
            # One call first: whoever may make none now must not have us read a body for it.
            if plan.calls:
                answer = store.take(plan.calls, self._lease_seconds)
                if not isinstance(answer, (Grant, Denied)):
                    answer = await answer
                calls = _granted(exchange, plan, answer)
            if plan.sized:
                intent: Intent | None = None
                if depends_on_body(exchange.operation, plan):
                    asked = exchange.asked()
                    intent = asked if isinstance(asked, Intent) else await asked
                answered = self._take_sized(exchange, plan, intent)
                if answered is not None:
                    if not isinstance(answered, (Grant, Denied)):
                        answered = await answered
                    sized = _granted(exchange, plan, answered)
            await call_next(exchange)
        except BaseException as error:
            failure = error
        waits = self._settle(exchange, plan, calls, sized)
        if waits is not None:
            await waits
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # its traceback holds this frame, and so the exchange, until the collector comes

    def _take_sized(
        self, exchange: Exchange, plan: Plan, intent: Intent | None
    ) -> Grant | Denied | Awaitable[Grant | Denied] | None:
        """None where there is nothing to take."""
        takes = sized_takes(exchange, plan, intent, self._default_output_tokens)
        return self._store.take(takes, self._lease_seconds) if takes else None

    def _settle(
        self, exchange: Exchange, plan: Plan, calls: Grant | None, sized: Grant | None
    ) -> Awaitable[object] | None:
        """Give back of each grant what was not used."""
        store = self._store
        first: Awaitable[None] | None = None
        second: Awaitable[None] | None = None
        try:
            if sized is not None:
                first = store.settle(sized, amounts_used(exchange, plan, sized.takes))
        finally:
            if calls is not None:
                second = store.settle(calls, calls_used(exchange, plan))
        if first is None or second is None:
            return second if first is None else first
        return gather(first, second)


def _granted(exchange: Exchange, plan: Plan, answer: Grant | Denied) -> Grant:
    if isinstance(answer, Denied):
        raise refusal(exchange, plan.rules[answer.take.counter], answer)
    return answer
