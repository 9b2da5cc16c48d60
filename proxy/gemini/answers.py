"""The shapes that answers come in: which fields the meter decodes of each, and how deep.

`usage_fields.py` reads through these. Decoding by shape from the top skips everything else without making
it, and keeps a "usageMetadata" that a model wrote into its text what it is: text. Scalars are taken as they
come, since one field of an odd type must not hide the counts beside it.
"""

from typing import Any

import msgspec

ABSENT = msgspec.Raw()


class Blob(msgspec.Struct, rename="camel"):
    mime_type: Any = None


class Part(msgspec.Struct, rename="camel"):
    inline_data: Blob | None = None
    file_data: Blob | None = None  # an image delivered to storage (Gemini fact 4.3)
    thought: Any = None


class Content(msgspec.Struct):
    parts: list[Part] | None = None


class Grounding(msgspec.Struct, rename="camel"):
    web_search_queries: list[Any] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    index: Any = 0
    finish_reason: Any = None
    content: Content | None = None
    grounding_metadata: Grounding | None = None


class Prediction(msgspec.Struct, rename="camel"):
    mime_type: Any = None
    bytes_base64_encoded: Any = None
    gcs_uri: Any = None
    embeddings: Any = None
    rai_filtered_reason: Any = None


class Native(msgspec.Struct, rename="camel"):
    """The top of a native answer. Parts that may be large or odd stay raw: one of them must not hide the counts."""

    usage_metadata: Any = None
    candidates: msgspec.Raw = ABSENT
    predictions: msgspec.Raw = ABSENT
    prompt_feedback: Any = None
    model_version: Any = None
    response_id: Any = None
    token_count: Any = None  # of an embedding in a batch
    error: Any = None


class Typed(msgspec.Struct):
    type: Any = None
    content: Any = None
    stop_reason: Any = None


class Choice(msgspec.Struct):
    index: Any = 0
    finish_reason: Any = None


class Image(msgspec.Struct):
    b64_json: Any = None
    url: Any = None


class Compatible(msgspec.Struct):
    """The top of an OpenAI-compatible or Interactions answer or event."""

    usage: Any = None
    model: Any = None
    id: Any = None
    service_tier: Any = None
    status: Any = None
    stop_reason: Any = None
    choices: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    steps: msgspec.Raw = ABSENT
    outputs: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    interaction: msgspec.Raw = ABSENT  # of an event such as interaction.completed
    response: msgspec.Raw = ABSENT  # of an event such as response.completed
    message: msgspec.Raw = ABSENT  # of message_start, a partner model's first event
    error: Any = None


decode_native = msgspec.json.Decoder(Native).decode
decode_compatible = msgspec.json.Decoder(Compatible).decode
decode_candidates = msgspec.json.Decoder(list[Candidate] | None).decode
decode_predictions = msgspec.json.Decoder(list[Prediction] | None).decode
decode_choices = msgspec.json.Decoder(list[Choice] | None).decode
decode_images = msgspec.json.Decoder(list[Image] | None).decode
decode_steps = msgspec.json.Decoder(list[Typed] | None).decode
decode_delta = msgspec.json.Decoder(Typed | None).decode
