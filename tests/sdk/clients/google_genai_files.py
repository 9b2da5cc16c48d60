"""A program of somebody who uploads with google-genai: a small and a large file, used, fetched and deleted; as JSON.

`tests/sdk/test_files.py` runs it under each major version, with `WEIR_URL` and `WEIR_KEY` in the environment. Only
the client has a base URL, as in the README. It knows of no gateway, and asserts nothing.
"""

import asyncio
import base64
import io
import json
import os
import sys
import tempfile
from typing import Any

from google import genai
from google.genai import errors, types

SMALL = b"A weir lets the river through."
LARGE = bytes(range(256)) * (20 << 12)  # 20 MiB: chunks of 8, 8 and 4
AS_TEXT = types.UploadFileConfig(mime_type="text/plain", display_name="small")


def described(file: types.File) -> dict[str, Any]:
    digest = base64.b64decode(file.sha256_hash or "").decode()
    return {"size": file.size_bytes, "mime": file.mime_type, "sha256": digest, "uri": file.uri, "name": file.name}


def opened() -> genai.Client:
    return genai.Client(api_key=os.environ["WEIR_KEY"], http_options=types.HttpOptions(base_url=os.environ["WEIR_URL"]))


async def upload_async() -> dict[str, Any]:
    """The third has aiohttp for it, which writes a URL its own way."""
    client = opened()
    return described(await client.aio.files.upload(file=io.BytesIO(SMALL), config=AS_TEXT))


def main() -> dict[str, Any]:
    client = opened()
    small = client.files.upload(file=io.BytesIO(SMALL), config=AS_TEXT)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(LARGE)
        file.flush()
        as_bytes = types.UploadFileConfig(mime_type="application/octet-stream")
        large = client.files.upload(file=file.name, config=as_bytes)
    name = large.name or ""
    seen = {
        "version": genai.__version__,
        "small": described(small),
        "large": described(large),
        "got": described(client.files.get(name=name)),
        "answer": client.models.generate_content(model="gemini-2.5-flash", contents=["What is it?", large]).text,
        "downloaded": client.files.download(file=small.name or "").decode(),
    }
    client.files.delete(name=small.name or "")
    client.files.delete(name=name)
    try:
        client.files.get(name=name)
    except errors.APIError as error:
        seen["error"] = {"type": type(error).__name__, "code": error.code, "status": error.status}
    seen["async"] = asyncio.run(upload_async())
    return seen


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
