"""What a call used of which nobody knows: as its request has it, within what the model can do.

`prices.py` asks where an answer has no counts and ran all the same. What it gives is an estimate, and billed as one.
"""

from proxy.gemini.price_list import Model
from proxy.record import UsageRecord
from proxy.usage import Usage

_REQUEST_BYTES = 4  # a token of text has, going up
_ANSWER_BYTES = 8  # and coming down, with the JSON around it


def expected_usage(record: UsageRecord, model: Model, least_output: int) -> Usage:
    """`least_output`: tokens that an answer is taken to have where neither it nor its request says more."""
    asked = record.estimate or Usage(input_tokens=record.request_bytes // _REQUEST_BYTES)
    input_tokens = (
        asked.input_tokens if model.max_input_tokens is None else min(asked.input_tokens, model.max_input_tokens)
    )
    output_tokens = asked.output_tokens
    if not output_tokens:
        # Who takes a long answer and no counts (OpenAI's streams have them for the asking) pays for its length.
        length = record.response_bytes // _ANSWER_BYTES if _writes_text(model) else 0
        output_tokens = max(least_output, length)
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
