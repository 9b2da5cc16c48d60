"""Pictures that any viewer opens, as large as the real ones: few pixels of drawing, padded with noise.

A PNG carries its padding in a private chunk, a JPEG behind its end, where viewers skip it; noise, because
compression on the way must not make the bytes vanish. `generate.py`, `predict.py` and `openai.py` call `picture`.
Refuses a size that the model does not draw.
"""

import base64
import random
import struct
import zlib
from collections.abc import Collection
from functools import lru_cache

from proxy.simulator.asked import GenerationConfig
from proxy.simulator.errors import invalid_argument

# Pixels and bytes of a square picture, near what was measured of the real ones (Gemini fact 7).
_SIZES = {"512": (512, 150_000), "1K": (1024, 550_000), "2K": (2048, 2_200_000), "4K": (4096, 9_000_000)}
_SPELLINGS = {
    "IMAGE_SIZE_FIVE_TWELVE": "512",
    "IMAGE_SIZE_ONE_K": "1K",
    "IMAGE_SIZE_TWO_K": "2K",
    "IMAGE_SIZE_FOUR_K": "4K",
}


def size_asked(config: GenerationConfig) -> str:
    """The first size any of its places names; 1K unless asked."""
    size = next((form.image_size for form in config.image_forms if form.image_size), "1K")
    return _SPELLINGS.get(size, size)


def delivered_by_uri(config: GenerationConfig) -> bool:
    """True when the picture is to go to storage and only its address into the answer."""
    return any(form.delivery == "URI" for form in config.image_forms)


def natural_bytes(size: str) -> int:
    return _SIZES[size][1]


def check_size(size: str, drawn: Collection[str]) -> None:
    """Lower-case `1k` is refused as Google does: the K is upper case."""
    if size not in drawn:
        raise invalid_argument(f"Invalid value for image_size: {size}. Supported values: {', '.join(drawn)}.")


@lru_cache(maxsize=16)
def picture(size: str, byte_count: int, mime_type: str = "image/png", number: int = 0) -> bytes:
    """Base64 of a valid picture of `byte_count` bytes (or the few hundred it needs, if that is more).

    Kept, so that a bench does not measure base64: the simulator's answers must cost as little as a file's.
    """
    draw = _jpeg if mime_type == "image/jpeg" else _png
    return base64.b64encode(draw(_SIZES[size][0], byte_count, number))


@lru_cache(maxsize=1)
def _noise_block() -> bytes:
    return random.Random("weir").randbytes(1 << 20)  # noqa: S311  reproducible noise, not a secret


def noise(byte_count: int) -> bytes:
    """The same noise every time; its period of 1 MiB is far beyond gzip's window."""
    block = _noise_block()
    return block[:byte_count] if byte_count <= len(block) else (block * (byte_count // len(block) + 1))[:byte_count]


def _png(pixels: int, byte_count: int, number: int) -> bytes:
    rows = zlib.compressobj(1)
    shades = bytes((column * 255 // pixels + number * 64) % 256 for column in range(pixels))
    # The second row on is filter "up" with no difference: a gradient that costs a few bytes a row.
    packed = rows.compress(b"\x00" + shades) + rows.compress((b"\x02" + bytes(pixels)) * (pixels - 1)) + rows.flush()
    header = struct.pack(">IIBBBBB", pixels, pixels, 8, 0, 0, 0, 0)
    before = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    after = _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    padding = byte_count - len(before) - len(after) - 12
    return b"".join((before, _chunk(b"noIs", noise(padding)) if padding >= 0 else b"", after))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))))


def _jpeg(pixels: int, byte_count: int, number: int) -> bytes:
    """One grey component whose every block is flat: two bits a block, the shade in the first block's DC value."""
    blocks = (pixels // 8) ** 2
    tables = (
        _segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
        + _segment(0xDB, b"\x00" + bytes([16]) * 64)
        + _segment(0xC0, struct.pack(">BHHB", 8, pixels, pixels, 1) + b"\x01\x11\x00")
        # Two codes a table, so that a difference of 0 is "0" and one of 6 bits is "10"; end of block is "0".
        + _segment(0xC4, b"\x00" + bytes([1, 1]) + bytes(14) + b"\x00\x06")
        + _segment(0xC4, b"\x10" + bytes([1]) + bytes(15) + b"\x00")
    )
    shade = 32 + number % 32
    bits = f"10{shade:06b}0" + "00" * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big")
    drawn = b"\xff\xd8" + tables + _segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + scan + b"\xff\xd9"
    return drawn + noise(max(0, byte_count - len(drawn)))


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@lru_cache(maxsize=8)
def noise_text(byte_count: int) -> str:
    """Noise in base64, as thought signatures are."""
    return base64.b64encode(noise(byte_count)).decode()
