"""An honest stand-in for Google's Gemini API, for trying, tests and benches.

`weir simulate` and tests import Simulator from here. It answers as the API was seen to answer, with faults on
demand and a ledger of what it saw; every answer says what it is. Imports nothing else of ours.
"""

from proxy.simulator.ledger import Entry
from proxy.simulator.server import Simulator

__all__ = ["Entry", "Simulator"]
