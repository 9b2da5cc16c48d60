"""The phases by name, and when each is run."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench import memory, speed
from bench.running import Figures, Running


@dataclass(frozen=True, slots=True)
class Phase:
    """`fresh`: in a process of its own, once, after all rounds: memory that a phase before had used would hide what
    this one takes."""

    run: Callable[[Running], Awaitable[Figures]]
    tls: bool = False
    fresh: bool = False


PHASES: dict[str, Phase] = {
    "small": Phase(speed.small),
    "busy": Phase(speed.busy),
    "events": Phase(speed.events),
    "image": Phase(speed.image),
    "tls": Phase(speed.tls, tls=True),
    "slow": Phase(memory.slow, fresh=True),
    "crowd": Phase(memory.crowd, fresh=True),
    "large": Phase(memory.large, fresh=True),
    "held": Phase(memory.held, fresh=True),
    "throng": Phase(memory.throng, fresh=True),
    "upload": Phase(memory.upload, fresh=True),
}


def chosen(names: Sequence[str]) -> dict[str, Phase]:
    """The phases of these names; all for none."""
    return {name: phase for name, phase in PHASES.items() if not names or name in names}
