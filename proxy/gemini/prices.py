"""What a usage record costs: the price file in force, applied to a record's own fields.

The composition root makes one `PriceBook` a process and replaces its content at a reload; plugins see it as
`services.prices`. The decisions stand in the files beside it: what is billed (`billed.py`), by which rates
(`rate_card.py`), how counts become lines (`charges.py`), what the team pays (`team_prices.py`). Pure: no clock, no
I/O, no rounding; the same record and the same file give the same charge for ever.
"""

from fnmatch import fnmatchcase

import msgspec

from proxy.gemini.billed import BEGINS, Billed, billed
from proxy.gemini.charges import DEFAULT_SIZE, Bill, bill_tokens
from proxy.gemini.model_names import find_model
from proxy.gemini.price_list import Grounding, Model, PriceList
from proxy.gemini.rate_card import Rate, RateCard, Tier, compile_card, each
from proxy.gemini.team_prices import TeamPriceBook
from proxy.price import Charge, Pricing
from proxy.record import UsageRecord
from proxy.usage import Usage, UsageState

_MOST_CASES = 1000  # that are remembered: a name is the caller's text
_DEFAULT_RESOLUTION = "720p"  # what Veo makes where nothing is asked
_BEST_RESOLUTION = "4k"  # of all that Veo makes; a model may stop below
_ASKABLE = frozenset({"flex", "priority"})  # tiers; a batch or a commitment is not had for a word in a body
_REQUEST_BYTES = 4  # a token of text has, going up
_ANSWER_BYTES = 8  # and coming down, with the JSON around it
_FINAL = UsageState.FINAL


class PriceBook:
    """See `Prices` in `record.py`. Without a price file it knows no price."""

    def __init__(self, prices: PriceList | None = None, version: str | None = None) -> None:
        self._pages: _Pages | None = None
        if prices is not None and version is not None:
            self.replace(prices, version)

    def replace(self, prices: PriceList, version: str) -> None:
        """Swap the content; called by the composition root at its start and at a reload only."""
        self._pages = _Pages(prices, version)

    @property
    def version(self) -> str | None:
        return self._pages.version if self._pages else None

    def charge(self, record: UsageRecord) -> Charge:
        """What a record costs. Never raises."""
        if self._pages is None:
            return Charge(pricing=Pricing.UNPRICED, price_list=record.price_list)
        return self._pages.charge(record)


class _Case(msgspec.Struct):
    """What records of one model, tier and place have in common. Its rate cards are compiled when one needs them."""

    name: str | None  # in the price file
    model: Model | None
    tier: Tier  # the one served
    is_known: bool  # the tier
    is_regional: bool
    card: RateCard | None = None
    long_card: RateCard | None = None


class _Pages:
    """One price file, compiled as far as it was needed."""

    def __init__(self, prices: PriceList, version: str) -> None:
        self.version = version
        self._prices = prices
        self._teams = TeamPriceBook(prices.lists)
        self._tiers: dict[str, Tier] = {
            name.lower(): tier  # type: ignore[misc]  # the fields of Tiers are the tiers
            for tier in prices.tiers.__struct_fields__
            for name in getattr(prices.tiers, tier).names
        }
        self._cases: dict[tuple[str | bool | None, ...], _Case] = {}
        self._searches: dict[str, tuple[Rate | None, Grounding] | None] = {}

    def charge(self, record: UsageRecord) -> Charge:
        usage = record.usage
        how = billed(record) if usage is None else Billed.BY_USAGE
        if how is Billed.FREE:
            return self._charged(record, Bill(), None, None)
        case = self._case(record)
        name, model, tier = case.name, case.model, case.tier
        if how is Billed.ELSEWHERE or name is None or model is None:
            return self._unpriced(record)
        bill = Bill()
        is_sum = tier == "batch" or record.api == "live"  # over requests or turns: of none of them are the counts known
        bill.counted = case.is_known and usage is not None and record.usage_state is _FINAL
        if model.video_second:
            _bill_video(bill, model, record)
        elif model.image is not None:
            _bill_images(bill, model, record)
        else:
            if usage is None:
                usage = self._expected(record, model)
            if usage.search_queries > 0:
                self._bill_searches(bill, name, usage, is_sum=is_sum)
            card = self._card(bill, case, model, usage, is_sum=is_sum)
            bill_tokens(
                bill,
                card,
                usage,
                record.asked_image_size,
                searched=usage.search_queries > 0,
                labelled=record.api != "openai",
            )
        # What ran has used something, but for Imagen where all that it made was filtered.
        if not bill.known or not (bill.lines or (model.image is not None and bill.counted)):
            return self._unpriced(record, tier if case.is_known else None, bill.image_size)
        return self._charged(record, bill, name, tier if case.is_known else None)

    def _case(self, record: UsageRecord) -> _Case:
        """Which model ran, and in which tier. Few cases make most records: each is found once."""
        usage = record.usage
        if usage is None or (usage.tier is None and record.usage_state is not _FINAL):
            return self._find_case(record)  # the tier may be one that was asked for
        key = (
            record.model,
            usage.model_version,
            usage.tier,
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

    def _find_case(self, record: UsageRecord) -> _Case:
        usage = record.usage
        name = find_model(self._prices, record.model, usage.model_version if usage is not None else None)
        tier, is_known = self._tier(record)
        model = None if name is None else self._prices.models[name]
        return _Case(name, model, tier, is_known, record.location not in (None, "global"))

    def _charged(self, record: UsageRecord, bill: Bill, name: str | None, tier: Tier | None) -> Charge:
        price, currency = self._teams.price(record.price_list, bill, name, is_batch=tier == "batch")
        return Charge(
            pricing=Pricing.PRICED if bill.counted else Pricing.ESTIMATED,
            tier=tier,
            image_size=bill.image_size,
            cost=bill.total,
            price=price,
            price_currency=currency,
            price_list=record.price_list,
            prices=self.version,
            lines=tuple(bill.lines),
        )

    def _unpriced(self, record: UsageRecord, tier: Tier | None = None, image_size: str | None = None) -> Charge:
        return Charge(
            pricing=Pricing.UNPRICED,
            tier=tier,
            image_size=image_size,
            price_list=record.price_list,
            prices=self.version,
        )

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

    def _card(self, bill: Bill, case: _Case, model: Model, usage: Usage, *, is_sum: bool) -> RateCard:
        is_long = model.standard_long is not None and usage.input_tokens > self._prices.long_context_tokens
        if is_long and is_sum:  # none of its parts need be long
            is_long = bill.counted = False
        card = case.long_card if is_long else case.card
        if card is None:
            card = compile_card(self._prices, model, case.tier, is_long=is_long, regional=case.is_regional)
            if is_long:
                case.long_card = card
            else:
                case.card = card
        return card

    def _bill_searches(self, bill: Bill, name: str, usage: Usage, *, is_sum: bool) -> None:
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
        bill.add(rate, 1 if by_prompt and not is_sum else usage.search_queries)

    def _expected(self, record: UsageRecord, model: Model) -> Usage:
        """What a call used of which nobody knows: as the request has it, within what the model can do."""
        asked = record.estimate or Usage(input_tokens=record.request_bytes // _REQUEST_BYTES)
        input_tokens = (
            asked.input_tokens if model.max_input_tokens is None else min(asked.input_tokens, model.max_input_tokens)
        )
        output_tokens = asked.output_tokens
        if not output_tokens:
            # Who takes a long answer and no counts (OpenAI's streams have them for the asking) pays for its length.
            length = record.response_bytes // _ANSWER_BYTES if _writes_text(model) else 0
            output_tokens = max(self._prices.estimate.output_tokens, length)
        if model.max_output_tokens is not None:
            output_tokens = min(output_tokens, model.max_output_tokens)
        images = asked.images
        if model.image_tokens:  # images are nearly all of its output, whether the request says so or not
            images, output_tokens = max(images, 1), 0
        return Usage(input_tokens=input_tokens, output_tokens=0 if model.embeds else output_tokens, images=images)


def _writes_text(model: Model) -> bool:
    """And nothing else, as far as its prices tell: bytes of sound or film are no measure of tokens."""
    rates = model.standard
    return rates is not None and rates.output_audio is None and rates.output_video is None


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


def _bill_images(bill: Bill, model: Model, record: UsageRecord) -> None:
    """Imagen counts no tokens; its images are its usage."""
    usage = record.usage or record.estimate
    bill.images = max(usage.images, 0 if record.usage else 1) if usage else 1
    bill.image_size = record.asked_image_size or DEFAULT_SIZE
    bill.add(None if model.image is None else each("images", model.image), bill.images)
