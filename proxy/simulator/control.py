"""The simulator's own calls under `/_simulator/`: its faults and its ledger. They need no credential.

Not part of Google's API and not in the ledger; in-process users have the same through `Simulator`.
Refuses, with 400 and the reason, a fault it cannot read.
"""

from typing import Any

import msgspec

from proxy.simulator.answer import Answer, unary
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument, unknown_method
from proxy.simulator.faults import Faults, Order
from proxy.simulator.ledger import Ledger

PREFIX = "/_simulator/"


def control(call: Call, faults: Faults, ledger: Ledger) -> Answer:
    match call.method, call.path.segments[1:]:
        case "GET", ("ledger",):
            return unary({"entries": list(ledger)})
        case "DELETE", ("ledger",):
            ledger.clear()
            return unary({})
        case "GET", ("faults",):
            return unary(_standing(faults))
        case "POST", ("faults",):
            try:
                order = msgspec.json.decode(call.body, type=Order)
                faults.add(order.fault, key=order.key, model=order.model, count=order.count)
            except ValueError as error:  # a msgspec.ValidationError is one
                raise invalid_argument(str(error)) from error
            return unary(_standing(faults))
        case "DELETE", ("faults",):
            faults.clear()
            return unary(_standing(faults))
        case _:
            raise unknown_method()


def _standing(faults: Faults) -> dict[str, Any]:
    return {"faults": [msgspec.to_builtins(order) for order in faults.orders]}
