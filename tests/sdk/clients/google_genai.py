"""A program of somebody who uses google-genai: each call once, sync and async, what came back as JSON.

`tests/sdk/test_google_genai.py` runs it under each major version, with `WEIR_URL` and `WEIR_KEY` in the
environment. It knows of no gateway, and asserts nothing: it prints what the SDK understood.
"""

import asyncio
import base64
import hashlib
import json
import os
import struct
import sys
from typing import Any

from google import genai
from google.genai import errors, types

TEXT = "gemini-2.5-flash"
IMAGE = "gemini-3-pro-image-preview"
EMBEDDING = "gemini-embedding-2"
PROMPT = "Why do butterflies have scales?"
AS_IMAGE = types.GenerateContentConfig(
    response_modalities=["TEXT", "IMAGE"],
    image_config=types.ImageConfig(aspect_ratio="1:1", image_size="1K"),
)


def client() -> genai.Client:
    return genai.Client(api_key=os.environ["WEIR_KEY"], http_options=types.HttpOptions(base_url=os.environ["WEIR_URL"]))


def usage(response: types.GenerateContentResponse) -> dict[str, int | None]:
    found = response.usage_metadata
    assert found is not None
    return {
        "input": found.prompt_token_count,
        "output": found.candidates_token_count,
        "thought": found.thoughts_token_count,
        "total": found.total_token_count,
    }


def answer(response: types.GenerateContentResponse) -> dict[str, Any]:
    return {"text": response.text, "usage": usage(response), "model": response.model_version}


def stream(chunks: list[types.GenerateContentResponse]) -> dict[str, Any]:
    text = "".join(chunk.text or "" for chunk in chunks)
    return {"text": text, "chunks": len(chunks), "usage": usage(chunks[-1])}


def picture(response: types.GenerateContentResponse) -> dict[str, Any]:
    """The first image of an answer, measured from its own bytes."""
    assert response.candidates
    content = response.candidates[0].content
    assert content is not None
    image = next(part.inline_data for part in content.parts or [] if part.inline_data)
    data = image.data or b""
    return {
        "mime": image.mime_type,
        "size": size(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "usage": usage(response),
    }


def size(image: bytes) -> list[int]:
    """Width and height: in the header chunk of a PNG (RFC 2083, 4.1.1), in the frame header of a JPEG (T.81, B.2.2)."""
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return list(struct.unpack(">II", image[16:24]))
    assert image.startswith(b"\xff\xd8"), f"neither PNG nor JPEG: {base64.b64encode(image[:16])!r}"
    at = 2
    while image[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(image[at + 2 : at + 4], "big")
    height, width = struct.unpack(">HH", image[at + 5 : at + 9])
    return [width, height]


def vector(response: types.EmbedContentResponse) -> list[float]:
    assert response.embeddings
    return response.embeddings[0].values or []


def failure(error: errors.APIError) -> dict[str, Any]:
    return {"type": type(error).__name__, "code": error.code, "status": error.status, "message": error.message}


def call_sync() -> dict[str, Any]:
    opened = client()  # held: it closes its connections when it is collected
    models = opened.models
    seen = {
        "generate": answer(models.generate_content(model=TEXT, contents=PROMPT)),
        "stream": stream(list(models.generate_content_stream(model=TEXT, contents=PROMPT))),
        "image": picture(models.generate_content(model=IMAGE, contents=PROMPT, config=AS_IMAGE)),
        "count": models.count_tokens(model=TEXT, contents=PROMPT).total_tokens,
        "embed": vector(models.embed_content(model=EMBEDDING, contents=PROMPT)),
        "models": sorted(model.name or "" for model in models.list()),
        "model": models.get(model=TEXT).name,
    }
    try:
        models.generate_content(model="no-such-model", contents=PROMPT)
    except errors.APIError as error:
        seen["error"] = failure(error)
    return seen


async def call_async() -> dict[str, Any]:
    opened = client()
    models = opened.aio.models
    chunks = [chunk async for chunk in await models.generate_content_stream(model=TEXT, contents=PROMPT)]
    listed = await models.list()
    seen = {
        "stream": stream(chunks),
        "models": sorted([model.name or "" async for model in listed]),
        "generate": answer(await models.generate_content(model=TEXT, contents=PROMPT)),
        "image": picture(await models.generate_content(model=IMAGE, contents=PROMPT, config=AS_IMAGE)),
        "count": (await models.count_tokens(model=TEXT, contents=PROMPT)).total_tokens,
        "embed": vector(await models.embed_content(model=EMBEDDING, contents=PROMPT)),
        "model": (await models.get(model=TEXT)).name,
    }
    try:
        await models.generate_content(model="no-such-model", contents=PROMPT)
    except errors.APIError as error:
        seen["error"] = failure(error)
    return seen


if __name__ == "__main__":
    json.dump({"version": genai.__version__, "sync": call_sync(), "async": asyncio.run(call_async())}, sys.stdout)
