"""The attempt plugin, inside the engine's failover: its settings, and what it tells.

An open circuit fails the attempt at once, and the next candidate is tried.
"""

from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from plugins.circuit_breaker.circuits import Circuits
from proxy import Attempt, AttemptNext, Endpoint, Exchange, Plugin, ResponseHead, Seconds, Services


class CircuitBreaker(Plugin):
    """A circuit per endpoint, and per endpoint and model."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        failures: int = 5  # in a row
        open_for: Seconds = Seconds(30)  # doubled by each failed probe
        max_open: Seconds = Seconds(300)

    config: Config

    def __init__(self, config: Config, services: Services) -> None:
        super().__init__(config, services)
        if config.failures < 1:
            raise ValueError(f"failures: expected 1 or more, found {config.failures}")
        if not 0 < config.open_for <= config.max_open:
            raise ValueError('open_for: expected more than "0s" and no more than max_open')
        self._circuits = Circuits(
            services, failures=config.failures, open_seconds=config.open_for, most_open_seconds=config.max_open
        )

    def around_attempt(self, attempt: Attempt, call_next: AttemptNext) -> Coroutine[Any, Any, ResponseHead]:
        return self._circuits.guard(attempt, call_next)

    async def explain(self, exchange: Exchange) -> list[str]:
        now = self.services.clock.monotonic()
        for endpoint in list(exchange.candidates):
            shut = [circuit for circuit in self._circuits.of(exchange, endpoint) if not circuit.admits(now)]
            if shut:
                wait = shut[0].remaining_seconds(now)
                until = "a probe is under way" if wait is None else f"next probe in {wait:.0f} s"
                others = [other for other in exchange.candidates if other is not endpoint]
                exchange.narrow(others, f"the circuit of {shut[0]} is open, {until}")
        return []

    async def status(self) -> Mapping[str, Any]:
        now = self.services.clock.monotonic()
        return {
            "circuits": [
                {"endpoint": name, "model": model} | circuit.as_json(now)
                for (name, model), circuit in self._circuits.kept.items()
            ]
        }

    def endpoint_status(self, endpoint: Endpoint) -> Mapping[str, Any]:
        now = self.services.clock.monotonic()
        known = {
            model: circuit.as_json(now)
            for (name, model), circuit in self._circuits.kept.items()
            if name == endpoint.name
        }
        return known.pop(None, {"circuit": "closed"}) | {"models": known}
