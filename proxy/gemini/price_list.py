"""The price file as typed facts: what may stand in it, and what must hold between its tables.

`config/prices.py` binds the file to `PriceList` and asks it for `problems`; `rate_card.py` compiles the rates that
a record needs. A comment behind a field is its reference documentation. Amounts are exact decimals. It refuses to
fill gaps: a price that is absent is unknown, and never zero.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from proxy.gemini.exact import MOST_DECIMALS, is_price

ONE = Decimal(1)


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table, deaf to keys it does not know."""


class Rates(Table, frozen=True, kw_only=True):
    """USD for a million tokens. Of an input without a price of its own: that of text."""

    input_text: Decimal | None = None
    input_image: Decimal | None = None
    input_audio: Decimal | None = None
    input_video: Decimal | None = None
    cached_text: Decimal | None = None
    cached_audio: Decimal | None = None
    output_text: Decimal | None = None  # thoughts too
    output_image: Decimal | None = None
    output_audio: Decimal | None = None
    output_video: Decimal | None = None
    images: dict[str, Decimal] = {}  # USD an image in the answer by its size, in the place of output_image


class Model(Table, frozen=True, kw_only=True):
    """`[models."NAME"]`. `*_long` holds for a request of more than `long_context_tokens`, as far as it says.

    There is none for batches: their results are counted together, so that no one knows which request was long.
    """

    source: str  # where the figures are from: a name of [sources]
    standard: Rates | None = None
    standard_long: Rates | None = None
    batch: Rates | None = None
    flex: Rates | None = None
    flex_long: Rates | None = None
    priority: Rates | None = None
    priority_long: Rates | None = None
    image_tokens: dict[str, int] = {}  # of one image in an answer, by its size
    image: Decimal | None = None  # USD an image, of models that count no tokens
    video_second: dict[str, Decimal] = {}  # USD a second, by resolution
    vertex_regional_uplift: Decimal = ONE  # on Vertex outside of `global`
    max_input_tokens: int | None = None  # bounds an estimate
    max_output_tokens: int | None = None
    embeds: bool = False  # it writes nothing


class ServedTier(Table, frozen=True, kw_only=True):
    """`[tiers]`: the words by which an answer says that it was served so; `multiplier` of what has no price there."""

    names: list[str] = []
    multiplier: Decimal = ONE


class Tiers(Table, frozen=True, kw_only=True):
    standard: ServedTier
    batch: ServedTier
    flex: ServedTier
    priority: ServedTier
    prepaid: ServedTier  # paid by a commitment: nothing for a token


class Grounding(Table, frozen=True, kw_only=True):
    """`[grounding.NAME]`: USD for a search with Google, by the models that search."""

    models: list[str]  # patterns
    search_query: Decimal | None = None
    search_prompt: Decimal | None = None  # for a prompt that searched, however often
    inferred: bool = False  # no source says so for these models: what rests on it is an estimate


class Guess(Table, frozen=True, kw_only=True):
    """`[estimate]`: what to take where neither answer nor request says it."""

    output_tokens: int


class Exchanged(Table, frozen=True, kw_only=True):
    """A dated rate: what one USD is in another currency."""

    per_usd: Decimal
    on: date


class TeamPrices(Table, frozen=True, kw_only=True):
    """`[lists.NAME]`: what a team is charged. Flat prices are in the list's currency and come before the factor."""

    factor: Decimal = ONE  # of what Google charges
    currency: str = "USD"
    rate: Exchanged | None = None
    images: dict[str, Decimal] = {}  # an exchange with images costs this for each, by size, and nothing else
    requests: dict[str, Decimal] = {}  # by model pattern, the first that fits: costs this and nothing else


class PriceList(Table, frozen=True, kw_only=True):
    """The whole file."""

    date: date  # of the prices; begins the version that each record names
    currency: Literal["USD"]
    long_context_tokens: int  # a prompt of more moves the whole request
    sources: dict[str, str]
    tiers: Tiers
    estimate: Guess
    models: dict[str, Model]
    aliases: dict[str, str] = {}
    grounding: dict[str, Grounding] = {}
    lists: dict[str, TeamPrices] = {}

    def problems(self) -> Iterator[str]:
        """Each with its key. What is of the wrong type has been told before."""
        for key, amount in _amounts(self, ""):
            if not is_price(amount):
                yield f"{key}: expected 0 or more, with at most {MOST_DECIMALS} decimals, found {amount}"
        for name, model in self.models.items():
            key = f'models."{name}"'
            if model.source not in self.sources:
                yield f'{key}.source: there is no source "{model.source}"; there are: {", ".join(self.sources)}'
            if model.standard is None and model.image is None and not model.video_second:
                yield f"{key}: has no price; give it standard, image or video_second"
            if any(tokens < 1 for tokens in model.image_tokens.values()):
                yield f"{key}.image_tokens: expected 1 or more"
        for alias, name in self.aliases.items():
            if name not in self.models:
                yield f'aliases."{alias}": there is no model "{name}"; add [models."{name}"]'
            if alias in self.models:
                yield f'aliases."{alias}": is a model of its own too; take one of them out'
        yield from _tier_problems(self.tiers)
        for name, prices in self.lists.items():
            yield from _list_problems(f'lists."{name}"', prices)
        for key, tokens in (
            ("long_context_tokens", self.long_context_tokens),
            ("estimate.output_tokens", self.estimate.output_tokens),
        ):
            if tokens < 0:
                yield f"{key}: expected 0 or more, found {tokens}"

    def knows(self, pattern: str) -> bool:
        """Whether a shell pattern fits any model that has a price, or another name of one."""
        return any(fnmatchcase(name, pattern) for names in (self.models, self.aliases) for name in names)


def _amounts(value: object, key: str) -> Iterator[tuple[str, Decimal]]:
    """Every decimal below, with its key."""
    if isinstance(value, Decimal):
        yield key, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _amounts(getattr(value, name), f"{key}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _amounts(inner, f'{key}."{name}"')


def _tier_problems(tiers: Tiers) -> Iterator[str]:
    seen: dict[str, str] = {}
    for tier in tiers.__struct_fields__:
        for name in getattr(tiers, tier).names:
            other = seen.setdefault(name.lower(), tier)
            if other != tier:
                yield f'tiers.{tier}.names: "{name}" stands at {other} too'


def _list_problems(key: str, prices: TeamPrices) -> Iterator[str]:
    if not (len(prices.currency) == 3 and prices.currency.isascii() and prices.currency.isupper()):
        yield f'{key}.currency: expected three capital letters, such as "EUR", found "{prices.currency}"'
    elif (prices.currency == "USD") != (prices.rate is None):
        cure = (
            "leave it out: prices are in USD already"
            if prices.rate
            else ("is missing; add rate = { per_usd = 0.92, on = 2026-11-20 }, with the day it is of")
        )
        yield f"{key}.rate: {cure}"
    if prices.rate is not None and is_price(prices.rate.per_usd) and not prices.rate.per_usd:
        yield f"{key}.rate.per_usd: expected more than 0"
