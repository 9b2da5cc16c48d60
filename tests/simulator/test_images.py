import base64
import json
import struct
import zlib

import pytest

from proxy.simulator.images import picture
from tests.simulator.calling import ASK, DRAW, Caller


def png_chunks(image: bytes) -> dict[bytes, bytes]:
    """Read a PNG as a decoder does, with every checksum."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(image):
        size, kind = struct.unpack_from(">I4s", image, at)
        body = image[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", image, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += size + 12
    assert at == len(image)
    assert kind == b"IEND"
    return chunks


def asking(size: str, *, modalities: tuple[str, ...] = ("TEXT", "IMAGE")) -> dict[str, object]:
    return ASK | {"generationConfig": {"responseModalities": modalities, "imageConfig": {"imageSize": size}}}


@pytest.mark.parametrize(("size", "pixels", "tokens"), [("1K", 1024, 1120), ("2K", 2048, 1120), ("4K", 4096, 2000)])
async def test_an_image_is_a_whole_png_of_the_size_asked(caller: Caller, size: str, pixels: int, tokens: int) -> None:
    reply = await caller.post(DRAW, asking(size))

    text, image = reply.document["candidates"][0]["content"]["parts"]
    chunks = png_chunks(base64.b64decode(image["inlineData"]["data"]))
    assert text["text"]
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (pixels, pixels)
    assert len(zlib.decompress(chunks[b"IDAT"])) == pixels * (pixels + 1)
    assert len(image["thoughtSignature"]) > 16 << 10
    assert reply.document["usageMetadata"] == {
        "promptTokenCount": 4,
        "candidatesTokenCount": tokens + 48,
        "thoughtsTokenCount": 174,
        "totalTokenCount": 4 + tokens + 48 + 174,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": tokens}],
        "serviceTier": "standard",
    }


@pytest.mark.parametrize(
    "config",
    [
        {"generation_config": {"image_config": {"image_size": "4K"}}},
        {"generationConfig": {"responseFormat": {"image": {"imageSize": "IMAGE_SIZE_FOUR_K"}}}},
        {"generationConfig": {"responseFormat": [{"image": {"imageSize": "4K"}}]}},
    ],
)
async def test_the_size_is_read_wherever_it_may_stand(caller: Caller, config: dict[str, object]) -> None:
    reply = await caller.post(DRAW, ASK | config)

    details = reply.document["usageMetadata"]["candidatesTokensDetails"]
    assert details == [{"modality": "IMAGE", "tokenCount": 2000}]


async def test_a_lower_case_k_is_refused(caller: Caller) -> None:
    reply = await caller.post(DRAW, asking("1k"))

    assert reply.status == 400
    assert "1k" in reply.document["error"]["message"]


async def test_flash_image_hides_its_thoughts_in_the_candidates(caller: Caller) -> None:
    reply = await caller.post("/v1/models/gemini-3.1-flash-image:generateContent", asking("1K", modalities=("IMAGE",)))

    usage = reply.document["usageMetadata"]
    assert "thoughtsTokenCount" not in usage
    assert usage["candidatesTokenCount"] == 1120 + 330
    assert usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1120}]


async def test_the_caller_picks_bytes_kind_and_number(caller: Caller) -> None:
    reply = await caller.post(DRAW, x_sim_image_bytes="5000000", x_sim_image_type="image/jpeg", x_sim_images="2")

    _, *pictures = reply.document["candidates"][0]["content"]["parts"]
    images = [base64.b64decode(part["inlineData"]["data"]) for part in pictures]
    assert [len(image) for image in images] == [5_000_000, 5_000_000]
    assert all(image.startswith(b"\xff\xd8\xff\xe0\x00\x10JFIF") for image in images)
    assert images[0] != images[1]
    assert {part["inlineData"]["mimeType"] for part in pictures} == {"image/jpeg"}
    assert reply.document["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 2240}]


async def test_a_200_may_hold_no_image(caller: Caller) -> None:
    none = await caller.post(DRAW, x_sim_images="0")
    refused = await caller.post(DRAW, x_sim_images="0", x_sim_finish="IMAGE_SAFETY")

    assert none.document["candidates"][0]["finishReason"] == "NO_IMAGE"
    assert refused.document["candidates"][0]["finishReason"] == "IMAGE_SAFETY"
    assert "candidatesTokensDetails" not in none.document["usageMetadata"]


async def test_a_delivered_image_leaves_an_address(caller: Caller) -> None:
    body = ASK | {"generationConfig": {"responseFormat": {"image": {"imageSize": "1K", "delivery": "URI"}}}}
    reply = await caller.post(DRAW, body)

    assert reply.document["candidates"][0]["content"]["parts"][1]["fileData"]["fileUri"].startswith("gs://")
    assert reply.document["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1120}]


async def test_a_streamed_image_is_one_line_of_megabytes(caller: Caller) -> None:
    path = DRAW.replace("generate", "streamGenerate") + "?alt=sse"
    reply = await caller.post(path, asking("2K"), x_sim_chunks="1")

    text, image = reply.events
    data = image["candidates"][0]["content"]["parts"][0]["inlineData"]["data"]
    assert len(base64.b64decode(data)) == 2_200_000
    assert "IMAGE" not in json.dumps(text["usageMetadata"])
    assert image["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1120}]


async def test_imagen_predicts_without_usage(caller: Caller) -> None:
    path = "/v1beta/models/imagen-4.0-generate-001:predict"
    body = {"instances": [{"prompt": "a weir"}], "parameters": {"sampleCount": 2}}
    reply = await caller.post(path, body, x_sim_image_bytes="20000")
    filtered = await caller.post(path, body, x_sim_finish="IMAGE_SAFETY")

    assert set(reply.document) == {"predictions"}
    for prediction in reply.document["predictions"]:
        assert len(base64.b64decode(prediction["bytesBase64Encoded"])) == 20_000
    assert [set(prediction) for prediction in filtered.document["predictions"]] == [{"raiFilteredReason"}] * 2
    assert (await caller.last()).billed is None


def test_noise_does_not_compress() -> None:
    image = base64.b64decode(picture("1K", 3_000_000))
    assert len(zlib.compress(image)) > 2_900_000
