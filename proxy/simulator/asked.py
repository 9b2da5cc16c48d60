"""What a request's body asks, as typed facts: the fields the simulator reads, in camelCase.

`call.read` makes one of these of a body; the rooms that answer read nothing else. Fields of Google's that change
nothing here are not named, except at the top of generateContent, where an unknown one must be refused.
Refuses a value of the wrong type, by what msgspec says of it: the caller gets Google's 400.
"""

from collections.abc import Iterator
from typing import Any

import msgspec


class Media(msgspec.Struct, frozen=True, rename="camel"):
    """inlineData and fileData."""

    mime_type: str = ""
    data: str = ""
    file_uri: str = ""


class Part(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    inline_data: Media | None = None
    file_data: Media | None = None
    function_call: dict[str, Any] | None = None
    function_response: dict[str, Any] | None = None
    executable_code: dict[str, Any] | None = None
    code_execution_result: dict[str, Any] | None = None


class Content(msgspec.Struct, frozen=True, rename="camel"):
    parts: list[Part] | Part = []
    role: str = ""


Contents = list[Content] | Content


class ImageConfig(msgspec.Struct, frozen=True, rename="camel"):
    image_size: str | None = None
    delivery: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, rename="camel"):
    image: ImageConfig | None = None


class ThinkingConfig(msgspec.Struct, frozen=True, rename="camel"):
    thinking_budget: int | None = None
    include_thoughts: bool = False


class GenerationConfig(msgspec.Struct, frozen=True, rename="camel"):
    candidate_count: int = 1
    max_output_tokens: int | None = None
    response_mime_type: str = ""
    response_modalities: list[str] = []
    image_config: ImageConfig = ImageConfig()
    response_format: list[ResponseFormat] | ResponseFormat = []
    thinking_config: ThinkingConfig = ThinkingConfig()

    @property
    def image_forms(self) -> list[ImageConfig]:
        """Every place that may say how a picture is wanted (Gemini fact 4.3)."""
        formats = self.response_format if isinstance(self.response_format, list) else [self.response_format]
        return [self.image_config, *(form.image for form in formats if form.image is not None)]


class Generation(msgspec.Struct, frozen=True, rename="camel"):
    """A generateContent body; cachedContents and countTokens take parts of the same."""

    contents: Contents = []
    system_instruction: Content | None = None
    tools: list[dict[str, Any]] = []
    tool_config: Any = None
    safety_settings: Any = None
    generation_config: GenerationConfig = GenerationConfig()
    cached_content: str | None = None
    labels: Any = None
    service_tier: str = "standard"
    continuation_token: str | None = None
    model_armor_config: Any = None
    model: str = ""
    store: Any = None
    ttl: str = "3600s"

    @property
    def tool_names(self) -> set[str]:
        return {name for tool in self.tools for name in tool}


# `ttl` is a field of cachedContents only.
GENERATION_FIELDS = frozenset(Generation.__struct_encode_fields__) - {"ttl"}


class Count(msgspec.Struct, frozen=True, rename="camel"):
    contents: Contents = []
    generate_content_request: Generation | None = None


class EmbedConfig(msgspec.Struct, frozen=True, rename="camel"):
    output_dimensionality: int | None = None


class Embedding(msgspec.Struct, frozen=True, rename="camel"):
    content: Content = Content()
    output_dimensionality: int | None = None
    embed_content_config: EmbedConfig = EmbedConfig()


class Embeddings(msgspec.Struct, frozen=True, rename="camel"):
    requests: list[Embedding] = []


class OutputOptions(msgspec.Struct, frozen=True, rename="camel"):
    mime_type: str | None = None


class Parameters(msgspec.Struct, frozen=True, rename="camel"):
    sample_count: int = 1
    sample_image_size: str = "1K"
    output_options: OutputOptions = OutputOptions()


class Instance(msgspec.Struct, frozen=True, rename="camel"):
    prompt: str = ""


class Prediction(msgspec.Struct, frozen=True, rename="camel"):
    instances: list[Instance] = []
    parameters: Parameters = Parameters()


class FileFacts(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    display_name: str = ""
    mime_type: str = ""


class FileStart(msgspec.Struct, frozen=True, rename="camel"):
    file: FileFacts = FileFacts()


def parts_of(contents: Contents) -> Iterator[Part]:
    for content in contents if isinstance(contents, list) else [contents]:
        yield from content.parts if isinstance(content.parts, list) else [content.parts]


def text_of(contents: Contents) -> str:
    return "\n".join(part.text for part in parts_of(contents) if part.text)
