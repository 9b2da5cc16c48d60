"""A program of somebody who talks with google-genai's Live: one session of two turns, what came back as JSON.

`tests/sdk/test_live.py` runs it under each major version, with `WEIR_URL` and `WEIR_KEY` in the environment. It
asserts nothing: it prints what the SDK understood.
"""

import asyncio
import json
import os
import sys
from typing import Any

from google import genai
from google.genai import types

MODEL = "gemini-3.8-live"
PROMPTS = ("Why do butterflies have scales?", "And why do fish?")


async def talk() -> list[dict[str, Any]]:
    client = genai.Client(
        api_key=os.environ["WEIR_KEY"], http_options=types.HttpOptions(base_url=os.environ["WEIR_URL"])
    )
    turns = []
    config = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        for prompt in PROMPTS:
            said = types.Content(role="user", parts=[types.Part(text=prompt)])
            await session.send_client_content(turns=said, turn_complete=True)
            turns.append(await hear(session))
    return turns


async def hear(session: Any) -> dict[str, Any]:
    text, usage = "", None
    async for message in session.receive():
        text += message.text or ""
        usage = message.usage_metadata or usage
    assert usage is not None
    return {
        "text": text,
        "usage": {
            "input": usage.prompt_token_count,
            "output": usage.response_token_count,
            "total": usage.total_token_count,
        },
    }


if __name__ == "__main__":
    json.dump({"version": genai.__version__, "turns": asyncio.run(talk())}, sys.stdout)
