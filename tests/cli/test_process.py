"""What `weir serve` asks of its machine, seen in a process of its own: these settings are for good."""

import ctypes
import subprocess
import sys
from typing import Any

import pytest

# Pieces of bodies, 2 MB of them at once, freed again and again: how often did that fault a page in?
_FAULTS = """
import resource
from proxy.cli.process import keep_freed_memory
kept = keep_freed_memory() if {keep} else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def take_and_free():
    pieces = [bytes(100 << 10) for _ in range(20)]
take_and_free()
before = faults()
for _ in range(50):
    take_and_free()
print(kept, faults() - before)
"""


def run(code: str, **environment: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_what_is_freed_is_kept_and_not_faulted_in_again() -> None:
    kept, faults = run(_FAULTS.format(keep=True))
    assert kept == "True"
    assert int(faults) < 200
    assert int(run(_FAULTS.format(keep=False))[1]) > 5_000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_what_the_environment_says_of_memory_stays() -> None:
    _, faults = run(_FAULTS.format(keep=True), MALLOC_TRIM_THRESHOLD_="65536", MALLOC_TOP_PAD_="0")
    assert int(faults) > 1_000


def test_the_collector_rests_and_still_collects() -> None:
    said: Any = run(
        """
import gc, weakref
from proxy.cli.process import settle_collector
settle_collector()
class Cycle:
    pass
cycle = Cycle()
cycle.itself = cycle
gone = weakref.ref(cycle)
del cycle
keep = [[] for _ in range(2 * gc.get_threshold()[0])]
print(gc.get_freeze_count() > 1000, gc.get_threshold()[0] > 1000, gc.isenabled(), gone() is None)
"""
    )
    assert said == ["True"] * 4
