"""One price file, compiled as far as it was needed: what a usage record costs by it.

`prices.py` holds the one in force. The decisions stand in the files beside it: what is billed (`billed.py`), by which
rates (`rate_card.py`), what was used where nothing was counted (`expected.py`), how counts become lines (`charges.py`),
what the team pays (`team_prices.py`). Pure: no clock, no I/O, no rounding; the same record and the same file give the
same charge for ever.
"""

from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, final

from proxy.gemini.billed import BEGINS, Billed, billed
from proxy.gemini.charges import DEFAULT_SIZE, Bill, bill_tokens
from proxy.gemini.expected import expected_usage
from proxy.gemini.model_names import find_model
from proxy.gemini.price_list import Grounding, Model, PriceList
from proxy.gemini.rate_card import Rate, RateCard, Tier, compile_card, each
from proxy.gemini.team_prices import TeamPriceBook
from proxy.price import Charge
from proxy.record import Pricing, UsageRecord
from proxy.usage import Usage, UsageState

_MOST_CASES = 1000  # that are remembered: a name is the caller's text
_DEFAULT_RESOLUTION = "720p"  # what Veo makes where nothing is asked
_BEST_RESOLUTION = "4k"  # of all that Veo makes; a model may stop below
_ASKABLE = frozenset({"flex", "priority"})  # tiers; a batch or a commitment is not had for a word in a body
_FINAL: Final = UsageState.FINAL
_NO_USAGE: Final = Usage()
_BY_USAGE: Final = Billed.BY_USAGE
_FREE: Final = Billed.FREE
_ELSEWHERE: Final = Billed.ELSEWHERE
_PRICED: Final = Pricing.PRICED
_ESTIMATED: Final = Pricing.ESTIMATED
_UNPRICED: Final = Pricing.UNPRICED


@final
class Case:
    """What records of one model, tier and place have in common. Its rate cards are compiled when one needs them.

    Attributes:
        name: in the price file.
        tier: the one served.
        is_sum: over requests or turns: of none of them are the counts known.
        is_labelled: the surface says which tokens are an image's; OpenAI's does not.
    """

    __slots__ = (
        "card",
        "is_known",
        "is_labelled",
        "is_regional",
        "is_sum",
        "long_card",
        "model",
        "name",
        "tier",
    )

    def __init__(
        self, record: UsageRecord, name: str | None, model: Model | None, tier: Tier, *, is_known: bool
    ) -> None:
        """`is_known`: the tier."""
        api = record.api
        self.name: Final = name
        self.model: Final = model
        self.tier: Final[Tier] = tier
        self.is_known: Final = is_known
        self.is_regional: Final = record.location not in (None, "global")
        self.is_sum: Final = tier == "batch" or api == "live"
        self.is_labelled: Final = api != "openai"
        self.card: RateCard | None = None
        self.long_card: RateCard | None = None


@final
class Pages:
    """See the module.

    Attributes:
        long_context_tokens: of an input that is not long, the most.
    """

    def __init__(self, prices: PriceList, version: str) -> None:
        self.version: Final = version
        self.long_context_tokens: Final = prices.long_context_tokens
        self._prices: Final = prices
        self._teams: Final = TeamPriceBook(prices.lists)
        self._tiers: Final[dict[str, Tier]] = {
            name.lower(): tier  # type: ignore[misc]  # the fields of Tiers are the tiers
            for tier in prices.tiers.__struct_fields__
            for name in getattr(prices.tiers, tier).names
        }
        self._cases: Final[dict[tuple[str | None, str | None, str | None, str | None, str, str, bool], Case]] = {}
        self._searches: Final[dict[str, tuple[Rate | None, Grounding] | None]] = {}

    def charge(self, record: UsageRecord) -> Charge:
        usage, price_list = record.usage, record.price_list
        how = _BY_USAGE if usage is not None else billed(record)
        if how is _FREE:
            return self.charged(price_list, Bill(), None, None)
        state = record.usage_state
        case = self.case(record, usage, state)
        name, model = case.name, case.model
        if how is _ELSEWHERE or name is None or model is None:
            return self._unpriced(price_list, None, None)
        bill = Bill()
        bill.counted = case.is_known and usage is not None and state is _FINAL
        image = model.image
        if model.video_second:
            _bill_video(bill, model, record)
        elif image is not None:
            _bill_images(bill, image, record)
        else:
            if usage is None:
                usage = expected_usage(record, model, self._prices.estimate.output_tokens)
            searches = usage.search_queries
            if searches > 0:
                self._bill_searches(bill, name, searches, is_sum=case.is_sum)
            card = self._card(bill, case, model, usage)
            asked = record.asked_image_size if card.makes_images else None
            bill_tokens(bill, card, usage, asked, searched=searches > 0, labelled=case.is_labelled)
        served = case.tier if case.is_known else None
        # What ran has used something, but for Imagen where all that it made was filtered.
        if not bill.known or not (bill.lines or (image is not None and bill.counted)):
            return self._unpriced(price_list, served, bill.image_size)
        return self.charged(price_list, bill, name, served)

    def case(self, record: UsageRecord, usage: Usage | None, state: UsageState) -> Case:
        """Which model ran, and in which tier. Few cases make most records: each is found once."""
        tier = None if usage is None else usage.tier
        if usage is None or (tier is None and state is not _FINAL):
            return self._find_case(record)  # the tier may be one that was asked for
        key = (
            record.model,
            usage.model_version,
            tier,
            record.location,
            record.api,
            record.operation,
            record.once is not None,
        )
        case = self._cases.get(key)
        if case is None:
            if len(self._cases) >= _MOST_CASES:
                self._cases.clear()
            case = self._cases[key] = self._find_case(record)
        return case

    def text_case(self, record: UsageRecord) -> Case | None:
        """The case of a record with final counts, where text is charged by its tokens and by no more; with its card."""
        usage = record.usage
        case = self.case(record, usage, _FINAL)
        model = case.model
        if usage is None or not case.is_known or case.name is None or model is None:
            return None
        if model.video_second or model.image is not None:
            return None
        card = self._card(Bill(), case, model, _NO_USAGE)
        return None if card.makes_images else case

    def _find_case(self, record: UsageRecord) -> Case:
        usage = record.usage
        name = find_model(self._prices, record.model, usage.model_version if usage is not None else None)
        tier, is_known = self._tier(record)
        return Case(record, name, None if name is None else self._prices.models[name], tier, is_known=is_known)

    def charged(self, price_list: str | None, bill: Bill, name: str | None, tier: Tier | None) -> Charge:
        cost = bill.total
        price: Decimal | str | None = cost
        currency = "USD"
        if price_list is not None:
            price, currency = self._teams.price(price_list, bill, name, is_batch=tier == "batch")
        return Charge(
            pricing=_PRICED if bill.counted else _ESTIMATED,
            tier=tier,
            image_size=bill.image_size,
            cost=cost,
            price=price,
            price_currency=currency,
            price_list=price_list,
            prices=self.version,
            lines=tuple(bill.lines),
        )

    def _unpriced(self, price_list: str | None, tier: Tier | None, image_size: str | None) -> Charge:
        return Charge(pricing=_UNPRICED, tier=tier, image_size=image_size, price_list=price_list, prices=self.version)

    def _tier(self, record: UsageRecord) -> tuple[Tier, bool]:
        """The tier served, and whether it is known. A word that no tier has is taken for the standard one: the most
        that Google asks without being asked for more."""
        # The results of a batch. A finished Interaction is read once too, and is none.
        if record.operation in BEGINS or (record.once is not None and record.api != "interactions"):
            return "batch", True
        said = record.usage.tier if record.usage else None
        if said is None:
            return self._asked_tier(record), True
        tier = self._tiers.get(said.lower())
        return tier or "standard", tier is not None

    def _asked_tier(self, record: UsageRecord) -> Tier:
        """Of what broke off before its tier was said. On Vertex no body decides it (Gemini fact 2.2)."""
        on_vertex = record.api == "vertex" or record.location is not None
        if record.usage_state is _FINAL or record.estimate is None or on_vertex:
            return "standard"
        tier = self._tiers.get((record.estimate.tier or "").lower())
        return tier if tier in _ASKABLE else "standard"

    def _card(self, bill: Bill, case: Case, model: Model, usage: Usage) -> RateCard:
        is_long = model.standard_long is not None and usage.input_tokens > self.long_context_tokens
        if is_long and case.is_sum:  # none of its parts need be long
            is_long = bill.counted = False
        card = case.long_card if is_long else case.card
        if card is None:
            card = compile_card(self._prices, model, case.tier, is_long=is_long, regional=case.is_regional)
            if is_long:
                case.long_card = card
            else:
                case.card = card
        return card

    def _bill_searches(self, bill: Bill, name: str, queries: int, *, is_sum: bool) -> None:
        if name not in self._searches:
            groups = self._prices.grounding.values()
            self._searches[name] = next(
                (
                    (_search_rate(group), group)
                    for group in groups
                    if any(fnmatchcase(name, pattern) for pattern in group.models)
                ),
                None,
            )
        found = self._searches[name]
        if found is None:
            bill.known = False
            return
        rate, group = found
        by_prompt = group.search_query is None
        # How many prompts of a sum have searched is not in it: no more than there were queries.
        bill.counted = bill.counted and not group.inferred and not (by_prompt and is_sum)
        bill.add(rate, 1 if by_prompt and not is_sum else queries)


def _search_rate(group: Grounding) -> Rate | None:
    if group.search_query is not None:
        return each("search_queries", group.search_query)
    return None if group.search_prompt is None else each("search_prompts", group.search_prompt)


def _bill_video(bill: Bill, model: Model, record: UsageRecord) -> None:
    """No answer says how long a video is: it is as the request wanted it (Gemini fact 4.4)."""
    bill.counted = False
    for usage in (record.usage, record.estimate):
        if usage is not None and usage.video_seconds > 0:
            resolution = (usage.video_resolution or _DEFAULT_RESOLUTION).lower()
            price = model.video_second.get(resolution)
            if price is None and resolution == _BEST_RESOLUTION:
                price = max(model.video_second.values())  # of a model that does not make it: its dearest
            bill.add(None if price is None else each("video_seconds", price), usage.video_seconds)
            return


def _bill_images(bill: Bill, price: Decimal, record: UsageRecord) -> None:
    """Imagen counts no tokens; its images are its usage."""
    usage = record.usage or record.estimate
    bill.images = max(usage.images, 0 if record.usage else 1) if usage else 1
    bill.image_size = record.asked_image_size or DEFAULT_SIZE
    bill.add(each("images", price), bill.images)
