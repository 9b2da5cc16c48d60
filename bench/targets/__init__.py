"""What is measured, one file each: to add a target, add a file here with a `TARGETS`.

`run.py` asks for them. A target says how to start a proxy in the foreground, with what headers to call it, and which
phases it takes part in. Each must let everybody through whose token is good, set `x-goog-api-key: upstream-key`, and
run on one core.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "bench"
COMPILED = ROOT / ".tools" / "compiled"  # as the wheel installs it; `make bench` sees to it
UPSTREAM_KEY = "upstream-key"
WHOLE = ("small", "events", "image", "tls", "slow", "sealed", "crowd", "large", "held", "throng", "upload")
BUSY = ("busy",)  # small calls of 64 callers alone: for what differs in little from another target


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a target is started with."""

    folder: Path  # its own, to write settings and logs into
    port: int  # to listen on, at 127.0.0.1
    admin: int  # another one, and the next ones for each worker, for those who need it
    upstream: int  # the fake upstream's port
    certificate: Path | None  # whom to trust; None: the upstream speaks no TLS
    jwks: str  # where the key of the callers' tokens is
    keys: Path  # the same in a file
    weir: Path  # the tree whose gateway is measured

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"


Start = tuple[Sequence[str], Mapping[str, str]]  # the command line, and what is added to the environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    name: str
    label: str
    start: Callable[[Place], Start] | None  # None: no proxy at all
    phases: tuple[str, ...] = WHOLE
    headers: tuple[tuple[str, str], ...] = (("Authorization", "Bearer {token}"),)
    prefix: str = ""  # before /v1beta
    workers: int = 1
    wait: float = 30.0  # seconds until it must answer
    note: str = ""  # what one should know of it


def all_targets() -> list[Target]:
    """Every target of every file here. Names are unique."""
    found: dict[str, Target] = {}
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        for target in importlib.import_module(f"{__name__}.{module}").TARGETS:
            if target.name in found:
                raise ValueError(f"two targets are called {target.name}")
            found[target.name] = target
    return list(found.values())
