"""From counts to the lines of a bill, by a compiled rate card. The rules of Gemini facts 4.1 and 5 are here.

`prices.py` opens a `Bill` for a record and lets the functions below write to it. Nothing is rounded. A meter that
has no price makes the whole bill unknown: a sum without it would look like an amount.
"""

from typing import Final, final

from proxy.gemini.exact import MOST_COUNT, POWERS, text_of
from proxy.gemini.rate_card import MEDIA, Rate, RateCard
from proxy.record import ChargeLine
from proxy.usage import Usage

DEFAULT_SIZE: Final = "1K"  # what Google makes where nothing is asked (Gemini fact 4.3)

_line: Final = ChargeLine  # compiled, a constant of the module is at hand, and a name from another is looked up


@final
class Bill:
    """The lines so far.

    Attributes:
        known: False once something was used that has no price.
        counted: False once a line rests on more than what the answer counted.
        images, image_size: of the answer, as far as it has any.
    """

    __slots__ = ("_decimals", "_units", "counted", "image_size", "images", "known", "lines")

    def __init__(self) -> None:
        self.lines: list[ChargeLine] = []
        self.known = True
        self.counted = True
        self.images = 0
        self.image_size: str | None = None
        self._units = 0
        self._decimals = 0

    @property
    def total(self) -> str:
        """The sum of the lines, as `fixed` writes it."""
        return text_of(self._units, self._decimals)

    def add(self, rate: Rate | None, quantity: int) -> None:
        if quantity <= 0:
            return
        if rate is None or quantity > MOST_COUNT:
            self.known = False
            return
        units, decimals = rate.units * quantity, rate.decimals
        self.lines.append(_line(rate.meter, quantity, rate.text, text_of(units, decimals)))
        beyond = decimals - self._decimals
        if beyond > 0:
            self._units *= POWERS[beyond]
            self._decimals = decimals
        elif beyond < 0:
            units *= POWERS[-beyond]
        self._units += units


def bill_tokens(
    bill: Bill, card: RateCard, usage: Usage, asked_size: str | None, *, searched: bool, labelled: bool
) -> None:
    """`searched`: a search is billed for itself, so what it put into the prompt is not (Gemini fact 4.1).

    `labelled`: the surface says which tokens are an image's; OpenAI's does not.
    """
    _bill_input(bill, card, usage)
    if not searched:
        bill.add(card.tool, usage.tool_tokens)
    _bill_output(bill, card, usage, asked_size, labelled=labelled)
    bill.add(card.thoughts, usage.thought_tokens)


def _bill_input(bill: Bill, card: RateCard, usage: Usage) -> None:
    details, cached_tokens = usage.input_by_modality, usage.cached_tokens
    if cached_tokens <= 0 and (not details or (len(details) == 1 and "text" in details)):  # nearly always
        bill.add(card.inputs.get("text"), usage.input_tokens)
        return
    fresh = _split(usage.input_tokens, details, card.inputs)
    if cached_tokens <= 0:
        for modality, tokens in fresh.items():
            bill.add(card.inputs.get(modality), tokens)
        return
    cached = _split(cached_tokens, usage.cached_by_modality, card.inputs)
    # Cached tokens are counted in the input too. Without details they are text, as far as there is any.
    beyond = 0
    for modality, tokens in cached.items():
        rest = fresh.get(modality, 0) - tokens
        fresh[modality] = max(rest, 0)
        beyond += max(-rest, 0)
    for modality, tokens in fresh.items():
        taken = min(tokens, beyond)
        beyond -= taken
        bill.add(card.inputs.get(modality), tokens - taken)
    for modality in cached.keys() - card.cached.keys() - {"text"}:
        cached["text"] = cached.get("text", 0) + cached.pop(modality)
    for modality, tokens in cached.items():
        bill.add(card.cached.get(modality), tokens)


def _bill_output(bill: Bill, card: RateCard, usage: Usage, asked_size: str | None, *, labelled: bool) -> None:
    details = usage.output_by_modality
    if not (card.makes_images or details):
        bill.images = max(usage.images, 0)
        bill.add(card.outputs.get("text"), usage.output_tokens)
        return
    media = _media(details)
    if card.makes_images:
        counted = media.pop("image", 0)
        image_tokens = _image_tokens(bill, card, usage, asked_size, counted, labelled=labelled)
        flat = card.images.get(bill.image_size) if bill.image_size else None
        if flat is not None:
            bill.add(flat, bill.images)
        else:
            bill.add(card.outputs.get("image"), image_tokens)
        # On image models the details list images alone; what is left of the count is text or thinking.
        bill.add(card.outputs.get("text"), usage.output_tokens - image_tokens - sum(media.values()))
    else:
        bill.images = max(usage.images, 0)
        bill.add(card.outputs.get("text"), usage.output_tokens - sum(media.values()))
    for modality, tokens in media.items():
        bill.add(card.outputs.get(modality), tokens)


def _image_tokens(
    bill: Bill, card: RateCard, usage: Usage, asked_size: str | None, counted: int, *, labelled: bool
) -> int:
    """Tokens of the images in the answer; notes in the bill how many they are, and how large."""
    sizes = card.image_tokens
    asked = asked_size if asked_size in sizes else DEFAULT_SIZE if DEFAULT_SIZE in sizes else None
    if counted > 0:
        # An image that went to storage, or was too large to be read, is in the tokens alone.
        bill.images = usage.images if usage.images > 0 else max(1, counted // sizes[asked]) if asked else 1
        bill.image_size = _size(sizes, counted, bill.images, asked)
        return counted
    bill.images = max(usage.images, 0)
    if not (bill.images or labelled) and asked and usage.output_tokens >= min(sizes.values()):
        bill.images = max(1, usage.output_tokens // sizes[asked])  # in a message, where we do not see them
    if not bill.images:
        return 0
    # The compatible surface labels none of their tokens: at the rate of text they would be a tenth.
    bill.counted = False
    bill.image_size = asked
    if asked is None:
        bill.known = False
        return 0
    return bill.images * sizes[asked]


def _size(sizes: dict[str, int], tokens: int, images: int, asked: str | None) -> str | None:
    """The size whose tokens come nearest: the answer is believed, the request decides between equals."""
    if asked is not None and sizes[asked] * images == tokens:  # as asked: nearly always
        return asked
    off = {size: abs(each * images - tokens) for size, each in sizes.items()}
    least = min(off.values(), default=0)
    fitting = [size for size, by in off.items() if by == least]
    return asked if asked in fitting or not fitting else fitting[0]


def _split(total: int, details: dict[str, int], rates: dict[str, Rate]) -> dict[str, int]:
    """Tokens by what has a price of its own; the rest is text, as far as the total goes."""
    if not details or len(rates) == 1:
        return {"text": total}
    media = {modality: tokens for modality, tokens in _media(details).items() if modality in rates}
    return {"text": max(total - sum(media.values()), 0), **media}


def _media(details: dict[str, int]) -> dict[str, int]:
    """What is not text, nor like text: documents, and whatever Google thinks of next."""
    return {modality: tokens for modality, tokens in details.items() if tokens > 0 and modality in MEDIA}
