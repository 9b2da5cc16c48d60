"""Imagen's `:predict`: pictures as bytesBase64Encoded, and no usage at all (Gemini fact 4.4).

`x-sim-finish: IMAGE_SAFETY` gives what a filtered picture gives: a prediction with a reason and no bytes.
Refuses a call without a prompt and more pictures than Imagen draws.
"""

from proxy.simulator import images
from proxy.simulator.answer import Answer, Piece, placeholder, unary
from proxy.simulator.asked import Prediction
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument

_MOST_PICTURES = 8
_SIZES = ("1K", "2K")
_FILTERED = "Unable to show generated images. All images were filtered out because they violated usage guidelines."


def predict(call: Call) -> Answer:
    asked = call.read(Prediction)
    parameters = asked.parameters
    if not asked.instances or not asked.instances[0].prompt:
        raise invalid_argument("Invalid instances: a prompt is required.")
    if not 1 <= parameters.sample_count <= _MOST_PICTURES:
        raise invalid_argument(f"Invalid sampleCount: {parameters.sample_count}. It is 1 to {_MOST_PICTURES}.")
    size = parameters.sample_image_size
    images.check_size(size, _SIZES)
    if call.switch("finish"):
        return unary({"predictions": [{"raiFilteredReason": _FILTERED}] * parameters.sample_count})
    mime_type = parameters.output_options.mime_type or call.switch("image-type") or "image/png"
    byte_count = call.number("image-bytes", images.natural_bytes(size))
    pictures: dict[str, Piece] = {
        placeholder(): images.picture(size, byte_count, mime_type, number) for number in range(parameters.sample_count)
    }
    predictions = [{"mimeType": mime_type, "bytesBase64Encoded": name} for name in pictures]
    return unary({"predictions": predictions}, payloads=pictures)
