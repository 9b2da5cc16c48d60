"""What opens an endpoint's circuits and what closes them.

Each endpoint has a circuit for what is its own (connection, front end, our credential), and each model at it another
for what Google decides by model (overload, quota). Circuits exist only where something failed.
"""

from email.utils import parsedate_to_datetime
from typing import Any, Final, final

from cachetools import LRUCache

from plugins.circuit_breaker.circuit import Circuit
from proxy import Attempt, AttemptNext, Endpoint, EndpointFailed, Exchange, ResponseHead, Services

# Models are the caller's text, so the circuits are bounded: the one not asked for longest gives way. A model
# gets one by failing only, never by being named: an unknown one is a 404.
_MAX_CIRCUITS: Final = 1024

# Plugins refused to ask: that says nothing about the endpoint.
_NOT_ASKED: Final = frozenset({"circuit_open", "paced", "rate_limited"})

# The endpoint's own fault, whatever the model. 502: its front end reached nothing behind it. 401: our
# credential, where a model is run; other surfaces give one to a caller at will (an upload's URL carries its own
# authority, Gemini fact 1.2). Not 403: a caller gets one by naming a file of somebody else's account.
_ENDPOINT_FAULTS: Final = frozenset({401, 502})

# By model: "The model is overloaded" is a 503, a deadline a 504, and quotas are per model too (Gemini fact 3).
_MODEL_FAULTS: Final = frozenset({429, 500, 503, 504})

# With one of these the caller chose a kind of traffic that is refused while the ordinary kind has room: only
# what was bought ahead, or what is shed first (Gemini fact 6.3).
_CHOSEN_TRAFFIC: Final = ("x-vertex-ai-llm-request-type", "x-vertex-ai-llm-shared-request-type")

_NONE: Final[list[Circuit]] = []


@final
class Circuits:
    """Those of all endpoints.

    Attributes:
        kept: by endpoint's name and model.
    """

    __slots__ = ("_clock", "_failures", "_has_any", "_log", "_most_open_seconds", "_open_seconds", "kept")

    def __init__(self, services: Services, *, failures: int, open_seconds: float, most_open_seconds: float) -> None:
        """Open after that many failures in a row; twice as long after each failed probe, up to the most."""
        self._clock = services.clock
        self._log = services.log
        self._failures = failures
        self._open_seconds = open_seconds
        self._most_open_seconds = most_open_seconds
        self.kept: LRUCache[tuple[str, str | None], Circuit] = LRUCache(_MAX_CIRCUITS)
        self._has_any = False  # whether `kept` holds one: to ask it for its length is a call of Python

    async def guard(self, attempt: Attempt, call_next: AttemptNext) -> ResponseHead:
        """Make the attempt if it may be made, and learn from how it ends."""
        probes = self._admit(attempt) if self._has_any else _NONE
        try:
            head = await call_next(attempt)
        except EndpointFailed as failure:
            if failure.reason not in _NOT_ASKED:
                self._failed(attempt, None, probes, cause=failure.reason)
            raise
        else:
            if head.status >= 400 or self._has_any:
                self._judge(attempt, head, probes)
            return head
        finally:
            for circuit in probes:
                circuit.probing = False  # also when nothing was learnt: a cancelled probe must not hold it for ever

    def of(self, exchange: Exchange, endpoint: Endpoint) -> list[Circuit]:
        """The endpoint's own circuit and the model's at it, as far as there are any."""
        own = self._find(exchange, endpoint, None)
        by_model = self._find(exchange, endpoint, exchange.model) if exchange.model is not None else None
        return [circuit for circuit in (own, by_model) if circuit is not None]

    def _find(self, exchange: Exchange, endpoint: Endpoint, model: str | None) -> Circuit | None:
        """None is closed. An endpoint that a reload repaired (another URL or credential) starts afresh.

        Exchanges from before the reload still come with the endpoint as it was: what exchanges after it have
        learnt is not about that one, and stays.
        """
        key = (endpoint.name, model)
        circuit = self.kept.get(key)
        if circuit is None or circuit.endpoint == endpoint:
            return circuit
        if exchange.started >= circuit.begun:
            self._drop(endpoint, model)
        return None

    def _drop(self, endpoint: Endpoint, model: str | None) -> None:
        del self.kept[endpoint.name, model]
        self._has_any = len(self.kept) > 0

    def _admit(self, attempt: Attempt) -> list[Circuit]:
        """The circuits that this attempt is the probe of. Raises EndpointFailed where it may not be made."""
        now = self._clock.monotonic()
        circuits = self.of(attempt.exchange, attempt.endpoint)
        for circuit in circuits:
            if not circuit.admits(now):
                raise circuit.failure(now)
        probes = [circuit for circuit in circuits if circuit.open_seconds]
        for circuit in probes:
            circuit.probing = True
            self._tell("circuit_probed", circuit)
        return probes

    def _judge(self, attempt: Attempt, head: ResponseHead, probes: list[Circuit]) -> None:
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
        probes: list[Circuit],
        *,
        cause: str,
        wait_seconds: float | None = None,
    ) -> None:
        endpoint = attempt.endpoint
        circuit = self._find(attempt.exchange, endpoint, model)
        if circuit is None:
            if (endpoint.name, model) in self.kept:
                return  # of the endpoint as a reload has made it: this failure is not its
            circuit = Circuit(endpoint, model, attempt.exchange.started)
            self.kept[endpoint.name, model] = circuit
            self._has_any = True
        if circuit.open_seconds and circuit not in probes:
            return  # begun before it opened; from then on only the probe counts
        circuit.failures += 1
        circuit.cause = cause
        if wait_seconds is None:
            if not circuit.open_seconds and circuit.failures < self._failures:
                return
            wait_seconds = max(self._open_seconds, 2 * circuit.open_seconds)
        circuit.open(self._clock.monotonic(), min(wait_seconds, self._most_open_seconds))
        self._tell("circuit_opened", circuit, cause=cause, seconds=round(circuit.open_seconds, 1))

    def _succeeded(self, attempt: Attempt, model: str | None, probes: list[Circuit]) -> None:
        circuit = self._find(attempt.exchange, attempt.endpoint, model)
        if circuit is None or (circuit.open_seconds and circuit not in probes):
            return
        self._drop(attempt.endpoint, model)
        if circuit.open_seconds:
            self._tell("circuit_closed", circuit)

    def _retry_after(self, head: ResponseHead) -> float | None:
        """Seconds the upstream asks for: it says itself that asking before is in vain (RFC 9110 section 10.2.3)."""
        value = (head.headers.get("retry-after") or "").strip()
        if value.isascii() and value.isdecimal():
            seconds = float(value[:9])
        else:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - self._clock.time()
            except (ValueError, OverflowError):
                return None
        return seconds if seconds > 0 else None

    def _tell(self, event: str, circuit: Circuit, **facts: Any) -> None:
        model = circuit.model and circuit.model[:100]
        self._log.warning(event, endpoint=circuit.endpoint.name, model=model, **facts)


def _callers_choice(exchange: Exchange, status: int) -> bool:
    """Whether the caller brought the refusal about: it says nothing about the model.

    A 504 may be to a deadline of the caller's own, say 10 s for an image that takes 30 (Gemini fact 7).
    """
    headers = exchange.request.headers
    if status == 504:
        return headers.get("x-server-timeout") is not None
    return status in (429, 503) and any(headers.get(name) is not None for name in _CHOSEN_TRAFFIC)
