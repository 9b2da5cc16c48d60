"""A program of somebody who uses google-genai's Interactions: one call, sync and async, as JSON.

`tests/sdk/test_google_genai.py` runs it as it runs its neighbour, under versions that send User-Agent twice.
"""

import asyncio
import json
import os
import sys
import warnings
from typing import Any

from google import genai
from google.genai import types

MODEL = "gemini-2.5-flash"
PROMPT = "Why do butterflies have scales?"


def client() -> genai.Client:
    return genai.Client(api_key=os.environ["WEIR_KEY"], http_options=types.HttpOptions(base_url=os.environ["WEIR_URL"]))


def seen(interaction: Any) -> dict[str, Any]:
    return {"status": interaction.status, "model": interaction.model, "tokens": interaction.usage.total_tokens}


def call_sync() -> dict[str, Any]:
    opened = client()
    return seen(opened.interactions.create(model=MODEL, input=PROMPT))


async def call_async() -> dict[str, Any]:
    opened = client()
    return seen(await opened.aio.interactions.create(model=MODEL, input=PROMPT))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the SDK's own, that Interactions are experimental
    json.dump({"version": genai.__version__, "sync": call_sync(), "async": asyncio.run(call_async())}, sys.stdout)
