"""May this team use this model? Asked by `Auth` once it knows who calls.

Every team of the lineage must allow it: a child cannot be given what its parent may not use. Where the
model cannot be known, a team with a list is refused, since what we do not recognise may well run a model.
Teams without a list cost nothing here: the body is not read for them.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, final

from proxy import Exchange, Refusal, Team

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1: they change nothing and run nothing

_MAX_PASSED: Final = 256  # a pattern may allow any text a caller thinks of


@final
class Access:
    """What one team, by itself and its parents, may use."""

    __slots__ = ("_passed", "restricted")

    def __init__(self, lineage: Sequence[Team]) -> None:
        self.restricted = tuple(team for team in lineage if team.models)
        self._passed: set[str] = set()  # models that all of them were found to allow

    def check(self, exchange: Exchange) -> Awaitable[None] | None:
        """Raises the 403 of the first team that does not allow what is asked for; at once where the path says it."""
        if not self.restricted:
            return None
        operation = exchange.operation
        if operation.model_in_body:
            return self._check_body(exchange)
        if operation.model is not None:
            self._check(exchange, {operation.model})
        elif operation.generates or _may_do_anything(exchange):
            raise _unknown(exchange, self.restricted[0])
        return None

    async def _check_body(self, exchange: Exchange) -> None:
        model = (await exchange.intent()).model
        if model is None:
            raise _unknown(exchange, self.restricted[0])
        models = {model}
        if exchange.operation.model is not None:
            models.add(exchange.operation.model)
        self._check(exchange, models)

    def _check(self, exchange: Exchange, models: set[str]) -> None:
        if models <= self._passed:
            return
        for team in self.restricted:
            for model in sorted(models):
                if not team.allows_model(model):
                    raise exchange.refuse(
                        403, f'Team "{team.name}" may not use the model "{model}".', reason="MODEL_NOT_ALLOWED"
                    )
        if len(self._passed) < _MAX_PASSED:
            self._passed |= models


def _may_do_anything(exchange: Exchange) -> bool:
    return exchange.operation.name == "unknown" and exchange.request.method.upper() not in _READS


def _unknown(exchange: Exchange, team: Team) -> Refusal:
    return exchange.refuse(
        403,
        f'Team "{team.name}" may use certain models only, and this request does not say which model it uses.',
        reason="MODEL_UNKNOWN",
    )
