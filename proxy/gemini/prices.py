"""What a usage record costs, by a price list."""

from proxy.price import Charge, Pricing
from proxy.record import UsageRecord


class PriceBook:
    """The price file in force."""

    def charge(self, record: UsageRecord) -> Charge:
        """See `Prices.charge`."""
        return Charge(pricing=Pricing.UNPRICED, price_list=record.price_list)
