"""One circuit: closed, open or half-open, and for how long. `Circuits` owns them and says what happened."""

from typing import Any, Literal, final

from proxy import Endpoint, EndpointFailed

State = Literal["closed", "open", "half_open"]


@final
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
