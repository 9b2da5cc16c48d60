"""The price of a record, whatever becomes of it: a record that no price can be found for is a record all the same.

The ledger asks for it when an exchange has ended, `recovery` for one that was lost. What is as usual is priced by the
terms of its form, without a record.
"""

from structlog.typing import FilteringBoundLogger

from plugins.usage_log.record import Form
from proxy import Charge, Prices, Pricing, Usage, UsageRecord, put_charge


def charge_of(record: UsageRecord, prices: Prices, log: FilteringBoundLogger) -> Charge:
    """What the record costs. A price list that fails leaves it unpriced, and says so."""
    try:
        return prices.charge(record)
    except Exception:  # a fault of ours must cost neither the record nor, for a lost one, the start
        log.exception("usage log: a record could not be priced", record=record.id)
        return Charge(pricing=Pricing.UNPRICED, price_list=record.price_list)


def usual_charge(form: Form, usage: Usage, prices: Prices) -> Charge | None:
    """As `charge_of`, of what is as usual; None where its record must tell."""
    terms = form.terms
    if terms is None:
        terms = form.terms = prices.terms(form.blank)
    return terms.charge(usage)


def charge_into(record: UsageRecord, prices: Prices, log: FilteringBoundLogger) -> None:
    """Write into the record what it costs."""
    put_charge(record, charge_of(record, prices, log))
