"""Stops asking an endpoint that keeps failing, and asks it again with one probe at a time.

An attempt plugin, inside the engine's failover: an open circuit fails the attempt at once, and the next
candidate is tried. Each endpoint has a circuit for what is its own (connection, front end, our credential),
and each model at it another for what Google decides by model (overload, quota). Circuits exist only where
something failed. It reads no body, opens no circuit for what callers are known to bring about by themselves, and
none for longer than `max_open`: a 429 that names 39 seconds must not freeze an account for a day.
"""

from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec
from cachetools import LRUCache

from proxy import Attempt, AttemptNext, Endpoint, EndpointFailed, Exchange, Plugin, ResponseHead, Seconds, Services

# Models are the caller's text, so the circuits are bounded: the one not asked for longest gives way. A model
# gets one by failing only, never by being named: an unknown one is a 404.
_MAX_CIRCUITS = 1024

# Plugins refused to ask: that says nothing about the endpoint.
_NOT_ASKED = frozenset({"circuit_open", "paced", "rate_limited"})

# The endpoint's own fault, whatever the model. 502: its front end reached nothing behind it. 401: our
# credential, where a model is run; other surfaces give one to a caller at will (an upload's URL carries its own
# authority, Gemini fact 1.2). Not 403: a caller gets one by naming a file of somebody else's account.
_ENDPOINT_FAULTS = frozenset({401, 502})

# By model: "The model is overloaded" is a 503, a deadline a 504, and quotas are per model too (Gemini fact 3).
_MODEL_FAULTS = frozenset({429, 500, 503, 504})

# With one of these the caller chose a kind of traffic that is refused while the ordinary kind has room: only
# what was bought ahead, or what is shed first (Gemini fact 6.3).
_CHOSEN_TRAFFIC = ("x-vertex-ai-llm-request-type", "x-vertex-ai-llm-shared-request-type")

State = Literal["closed", "open", "half_open"]


class Circuit:
    """Closed until enough failures in a row; then open, for longer after each failed probe.

    Half-open is not stored: an open circuit is half-open once its time is over. A closed circuit without
    failures is not stored at all.
    """

    __slots__ = ("begun", "cause", "endpoint", "failures", "model", "open_seconds", "open_until", "probing")

    def __init__(self, endpoint: Endpoint, model: str | None, begun: float) -> None:
        self.endpoint = endpoint
        self.model = model  # None: the endpoint's own
        self.begun = begun  # monotonic: when the exchange began that made it
        self.cause = ""  # of the last failure: a status, or an EndpointFailed's reason
        self.failures = 0  # in a row
        self.open_seconds = 0.0  # how long it was opened for last; 0 is closed
        self.open_until = 0.0  # monotonic
        self.probing = False

    def __str__(self) -> str:
        return f"{self.model} at {self.endpoint.name}" if self.model else self.endpoint.name

    def state(self, now: float) -> State:
        if not self.open_seconds:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def admits(self, now: float) -> bool:
        return not self.open_seconds or (now >= self.open_until and not self.probing)

    def remaining_seconds(self, now: float) -> float | None:
        """Until the next probe; None when one is under way, for nobody knows how long that takes."""
        return self.open_until - now if now < self.open_until else None

    def failure(self, now: float) -> EndpointFailed:
        """What an attempt gets that it does not admit; the engine answers 429 where every endpoint says so."""
        reason = "rate_limited" if self.cause == "429" else "circuit_open"
        return EndpointFailed(reason, sent=False, retry_after=self.remaining_seconds(now))

    def open(self, now: float, seconds: float) -> None:
        self.open_seconds = seconds
        self.open_until = now + seconds

    def as_json(self, now: float) -> dict[str, Any]:
        remaining = self.remaining_seconds(now)
        wait = {} if remaining is None else {"retry_after_seconds": round(remaining, 1)}
        return {"circuit": self.state(now), "failures": self.failures} | wait


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
        self._circuits: LRUCache[tuple[str, str | None], Circuit] = LRUCache(_MAX_CIRCUITS)

    async def around_attempt(self, attempt: Attempt, call_next: AttemptNext) -> ResponseHead:
        probes = self._admit(attempt) if self._circuits else ()
        try:
            head = await call_next(attempt)
        except EndpointFailed as failure:
            if failure.reason not in _NOT_ASKED:
                self._failed(attempt, None, probes, cause=failure.reason)
            raise
        else:
            if head.status >= 400 or self._circuits:
                self._judge(attempt, head, probes)
            return head
        finally:
            for circuit in probes:
                circuit.probing = False  # also when nothing was learnt: a cancelled probe must not hold it for ever

    async def explain(self, exchange: Exchange) -> list[str]:
        now = self.services.clock.monotonic()
        for endpoint in list(exchange.candidates):
            shut = [circuit for circuit in self._circuits_of(exchange, endpoint) if not circuit.admits(now)]
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
                for (name, model), circuit in self._circuits.items()
            ]
        }

    def endpoint_status(self, endpoint: Endpoint) -> Mapping[str, Any]:
        now = self.services.clock.monotonic()
        known = {
            model: circuit.as_json(now) for (name, model), circuit in self._circuits.items() if name == endpoint.name
        }
        return known.pop(None, {"circuit": "closed"}) | {"models": known}

    def _circuit(self, exchange: Exchange, endpoint: Endpoint, model: str | None) -> Circuit | None:
        """None is closed. An endpoint that a reload repaired (another URL or credential) starts afresh.

        Exchanges from before the reload still come with the endpoint as it was: what exchanges after it have
        learnt is not about that one, and stays.
        """
        circuit = self._circuits.get((endpoint.name, model))
        if circuit is None or circuit.endpoint == endpoint:
            return circuit
        if exchange.started >= circuit.begun:
            del self._circuits[endpoint.name, model]
        return None

    def _circuits_of(self, exchange: Exchange, endpoint: Endpoint) -> list[Circuit]:
        """The endpoint's own circuit and the model's at it, as far as there are any."""
        own = self._circuit(exchange, endpoint, None)
        by_model = self._circuit(exchange, endpoint, exchange.model) if exchange.model is not None else None
        return [circuit for circuit in (own, by_model) if circuit is not None]

    def _admit(self, attempt: Attempt) -> Sequence[Circuit]:
        """The circuits that this attempt is the probe of. Raises EndpointFailed where it may not be made."""
        now = self.services.clock.monotonic()
        circuits = self._circuits_of(attempt.exchange, attempt.endpoint)
        for circuit in circuits:
            if not circuit.admits(now):
                raise circuit.failure(now)
        probes = [circuit for circuit in circuits if circuit.open_seconds]
        for circuit in probes:
            circuit.probing = True
            self._log("circuit_probed", circuit)
        return probes

    def _judge(self, attempt: Attempt, head: ResponseHead, probes: Sequence[Circuit]) -> None:
        """What a head says about the endpoint, and about the model at it."""
        exchange, status = attempt.exchange, head.status
        if status == 401 and not exchange.operation.generates:
            return
        model = exchange.model
        faulty = status in _MODEL_FAULTS and not _callers_choice(exchange, status)
        # Nobody has read the body that names the model: whose fault it is cannot be known.
        unnamed = model is None and exchange.operation.model_in_body
        if status in _ENDPOINT_FAULTS or (faulty and status != 429 and model is None and not unnamed):
            self._failed(attempt, None, probes, cause=str(status))
            return
        self._succeeded(attempt, None, probes)  # it answered, and took our credential
        if model is None:
            return
        if faulty:
            self._failed(attempt, model, probes, cause=str(status), wait_seconds=self._retry_after(head))
        elif status < 400:
            self._succeeded(attempt, model, probes)
        # Another error is about the request: it neither blames the model nor clears it.

    def _failed(
        self,
        attempt: Attempt,
        model: str | None,
        probes: Sequence[Circuit],
        *,
        cause: str,
        wait_seconds: float | None = None,
    ) -> None:
        endpoint = attempt.endpoint
        circuit = self._circuit(attempt.exchange, endpoint, model)
        if circuit is None:
            if (endpoint.name, model) in self._circuits:
                return  # of the endpoint as a reload has made it: this failure is not its
            circuit = Circuit(endpoint, model, attempt.exchange.started)
            self._circuits[endpoint.name, model] = circuit
        if circuit.open_seconds and circuit not in probes:
            return  # begun before it opened; from then on only the probe counts
        circuit.failures += 1
        circuit.cause = cause
        if wait_seconds is None:
            if not circuit.open_seconds and circuit.failures < self.config.failures:
                return
            wait_seconds = max(self.config.open_for, 2 * circuit.open_seconds)
        circuit.open(self.services.clock.monotonic(), min(wait_seconds, self.config.max_open))
        self._log("circuit_opened", circuit, cause=cause, seconds=round(circuit.open_seconds, 1))

    def _succeeded(self, attempt: Attempt, model: str | None, probes: Sequence[Circuit]) -> None:
        circuit = self._circuit(attempt.exchange, attempt.endpoint, model)
        if circuit is None or (circuit.open_seconds and circuit not in probes):
            return
        del self._circuits[attempt.endpoint.name, model]
        if circuit.open_seconds:
            self._log("circuit_closed", circuit)

    def _retry_after(self, head: ResponseHead) -> float | None:
        """Seconds the upstream asks for: it says itself that asking before is in vain (RFC 9110 section 10.2.3)."""
        value = (head.headers.get("retry-after") or "").strip()
        if value.isascii() and value.isdecimal():
            seconds = float(value[:9])
        else:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - self.services.clock.time()
            except (ValueError, OverflowError):
                return None
        return seconds if seconds > 0 else None

    def _log(self, event: str, circuit: Circuit, **facts: Any) -> None:
        model = circuit.model and circuit.model[:100]
        self.services.log.warning(event, endpoint=circuit.endpoint.name, model=model, **facts)


def _callers_choice(exchange: Exchange, status: int) -> bool:
    """Whether the caller brought the refusal about: it says nothing about the model.

    A 504 may be to a deadline of the caller's own, say 10 s for an image that takes 30 (Gemini fact 7).
    """
    headers = exchange.request.headers
    if status == 504:
        return headers.get("x-server-timeout") is not None
    return status in (429, 503) and any(headers.get(name) is not None for name in _CHOSEN_TRAFFIC)
