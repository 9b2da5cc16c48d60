"""The phases by name, and when each is run."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench import memory, speed
from bench.running import Figures, Running


class Setting(NamedTuple):
    """What a phase runs in; those of one setting run in one process of the proxy, one after the other."""

    tls: bool = False  # the upstream speaks it
    together: bool = False  # the upstream and the load share the proxy's cores, one for each worker, and have no other
    starts: int = 1  # how often in each round, in a process just started; all targets in turn each time


USUAL = Setting()  # each has its own core, and speaks without TLS
_TLS = Setting(tls=True)
_WORKERS = Setting(together=True, starts=3)  # what two busy cores give differs by a seventh from one to the next


@dataclass(frozen=True, slots=True)
class Phase:
    """`fresh`: in a process of its own, once, after all rounds: memory that a phase before had used would hide what
    this one takes."""

    run: Callable[[Running], Awaitable[Figures]]
    setting: Setting = USUAL
    fresh: bool = False


PHASES: dict[str, Phase] = {
    "small": Phase(speed.small),
    "busy": Phase(speed.busy),
    "workers": Phase(speed.workers, _WORKERS),
    "events": Phase(speed.events),
    "image": Phase(speed.image),
    "tls": Phase(speed.tls, _TLS),
    "slow": Phase(memory.slow, fresh=True),
    "sealed": Phase(memory.sealed, _TLS, fresh=True),
    "crowd": Phase(memory.crowd, fresh=True),
    "large": Phase(memory.large, fresh=True),
    "held": Phase(memory.held, fresh=True),
    "throng": Phase(memory.throng, fresh=True),
    "upload": Phase(memory.upload, fresh=True),
}


def chosen(names: Sequence[str]) -> dict[str, Phase]:
    """The phases of these names; all for none."""
    return {name: phase for name, phase in PHASES.items() if not names or name in names}
