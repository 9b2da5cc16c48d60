"""What a usage record costs: the price file in force, applied to a record's own fields.

The composition root makes one `PriceBook` a process and replaces its content at a reload; plugins see it as
`services.prices`. `pages.py` prices a record by it. Here is also what is the same for all calls of a kind: the rates of
text, found once, so that a charge is three products.
"""

from typing import Any, Final, final

import msgspec
from msgspec.structs import replace

from proxy.gemini.charges import Bill
from proxy.gemini.pages import Pages
from proxy.gemini.price_list import PriceList
from proxy.gemini.rate_card import Rate, Tier
from proxy.price import Charge
from proxy.record import Pricing, UsageRecord
from proxy.usage import Usage, UsageState

_fields: Final = msgspec.structs.astuple  # all fields of a struct, in the time of two


@final
class PriceBook:
    """See `Prices` in `price.py`. Without a price file it knows no price.

    Attributes:
        pages: its content; None: there is none.
        edition: how often that was replaced.
    """

    __slots__ = ("edition", "pages")

    def __init__(self, prices: PriceList | None = None, version: str | None = None) -> None:
        self.pages: Pages | None = None
        self.edition = 0
        if prices is not None and version is not None:
            self.replace(prices, version)

    def replace(self, prices: PriceList, version: str) -> None:
        """Swap the content; called by the composition root at its start and at a reload only."""
        self.pages = Pages(prices, version)
        self.edition += 1

    @property
    def version(self) -> str | None:
        return self.pages.version if self.pages else None

    def charge(self, record: UsageRecord) -> Charge:
        """What a record costs. Never raises."""
        pages = self.pages
        if pages is None:
            return Charge(pricing=Pricing.UNPRICED, price_list=record.price_list)
        return pages.charge(record)

    def terms(self, record: UsageRecord) -> "TextTerms":
        """What calls like that of a record cost where all that they used is text. See `Prices`."""
        return TextTerms(self, record)


@final
class TextTerms:
    """See `Terms` in `price.py`. It holds across reloads: what it found is of one content of the book."""

    __slots__ = (
        "_book",
        "_edition",
        "_input",
        "_is_text",
        "_model",
        "_name",
        "_output",
        "_record",
        "_served",
        "_thoughts",
        "_tier",
    )

    def __init__(self, book: PriceBook, record: UsageRecord) -> None:
        self._book: Final = book
        self._record: Final = replace(record, usage=None, usage_state=UsageState.FINAL)
        # What was looked up last, and by what: the book's edition, and the model and the tier that an answer names.
        self._edition = 0
        self._model: str | None = None
        self._tier: str | None = None
        self._is_text = False  # False: such calls are not priced here
        self._name: str | None = None
        self._served: Tier = "standard"
        self._input: Rate | None = None
        self._output: Rate | None = None
        self._thoughts: Rate | None = None

    def charge(self, usage: Usage) -> Charge | None:
        """As `Pages.charge` and `bill_tokens` have it, of what has nothing that those would have to look at."""
        inputs: dict[str, int]
        outputs: dict[str, int]
        model: str | None
        tier: str | None
        facts: tuple[Any, ...] = _fields(usage)  # tokens, tokens by modality, and all else
        given, cached, tool, output, thought, _, inputs, _, _, outputs, images, film, _, searches, _, tier, model, _ = (
            facts
        )
        pages = self._book.pages
        if self._edition != self._book.edition or model != self._model or tier != self._tier:
            self._look_up(pages, usage)
            self._edition, self._model, self._tier = self._book.edition, model, tier
        if pages is None or not self._is_text or cached or tool or images or film or searches:
            return None
        if given > pages.long_context_tokens or not (_is_text(inputs) and _is_text(outputs)):
            return None
        bill = Bill()
        bill.add(self._input, given)
        bill.add(self._output, output)
        bill.add(self._thoughts, thought)
        if not (bill.known and bill.lines):
            return None
        return pages.charged(self._record.price_list, bill, self._name, self._served)

    def _look_up(self, pages: Pages | None, usage: Usage) -> None:
        case = None if pages is None else pages.text_case(replace(self._record, usage=usage))
        card = None if case is None else case.card
        self._is_text = card is not None
        if case is not None and card is not None:
            self._name, self._served = case.name, case.tier
            self._input, self._output, self._thoughts = card.inputs.get("text"), card.outputs.get("text"), card.thoughts


def _is_text(by_modality: dict[str, int]) -> bool:
    return not by_modality or (len(by_modality) == 1 and "text" in by_modality)
