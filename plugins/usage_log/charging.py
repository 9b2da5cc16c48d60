"""The price of a record, whatever becomes of it: a record that no price can be found for is a record all the same.

`UsageLog` calls it when an exchange has ended, `recovery` for one that was lost.
"""

from structlog.typing import FilteringBoundLogger

from proxy import Charge, Prices, Pricing, UsageRecord, put_charge


def charge_into(record: UsageRecord, prices: Prices, log: FilteringBoundLogger) -> Charge:
    """Write into the record what it costs. A price list that fails leaves it unpriced, and says so."""
    try:
        charge = prices.charge(record)
    except Exception:  # a fault of ours must cost neither the record nor, for a lost one, the start
        log.exception("usage log: a record could not be priced", record=record.id)
        charge = Charge(pricing=Pricing.UNPRICED, price_list=record.price_list)
    put_charge(record, charge)
    return charge
