"""What a phase is given: a proxy that runs and answers, and how to call it.

`speed.py` and `memory.py` hold the phases, `phases.py` lists them. Figures are named PHASE.WHAT.HOW: `small.cpu.64` is
the processor time of a small call with 64 callers. Times are in µs, memory in MB.
"""

from dataclasses import dataclass

from bench.load import Caller
from bench.machine import Process

Figures = dict[str, float]
SMALL = "/v1beta/models/gemini-2.5-flash:generateContent"
ZIPPED = f"{SMALL}?bench=zipped-89"
IMAGE = "/v1beta/models/gemini-3-pro-image:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&bench=events-"
FRAMINGS = ("length", "chunked", "gzip")


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that runs. `process`: None where there is no proxy."""

    caller: Caller
    process: Process | None
    seconds: float  # for each point
    workers: int

    def spent(self) -> float:
        return self.process.spent() if self.process else 0.0

    def proxy(self) -> Process:
        """Of a phase that measures nothing without one."""
        if self.process is None:
            raise ValueError("no proxy, no memory")
        return self.process

    @property
    def port(self) -> int:
        return self.caller.port
