"""A program of somebody who talks with google-genai's Live: a session resumed, its turns, a function call, a warning.

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


async def talk() -> dict[str, Any]:
    client = genai.Client(
        api_key=os.environ["WEIR_KEY"], http_options=types.HttpOptions(base_url=os.environ["WEIR_URL"])
    )
    turns = []
    config = types.LiveConnectConfig(
        response_modalities=[types.Modality.TEXT],
        session_resumption=types.SessionResumptionConfig(handle="of a session before"),
    )
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        for prompt in PROMPTS:
            said = types.Content(role="user", parts=[types.Part(text=prompt)])
            await session.send_client_content(turns=said, turn_complete=True)
            turns.append(await hear(session))
        for command in ("/goaway", "/call look_up"):
            said = types.Content(role="user", parts=[types.Part(text=command)])
            await session.send_client_content(turns=said, turn_complete=True)
        turns.append(await hear(session))
    return {"turns": turns}


async def hear(session: Any) -> dict[str, Any]:
    """One turn; a function that is called is answered."""
    text, usage, events = "", None, []
    async for message in session.receive():
        text += message.text or ""
        usage = message.usage_metadata or usage
        if message.session_resumption_update:
            events.append(["resumption", message.session_resumption_update.new_handle])
        if message.go_away:
            events.append(["go away", message.go_away.time_left])
        for call in message.tool_call.function_calls if message.tool_call else ():
            events.append(["call", call.name, call.args])
            answer = types.FunctionResponse(id=call.id, name=call.name, response={"found": "Wünsche"})
            await session.send_tool_response(function_responses=[answer])
    assert usage is not None
    return {
        "text": text,
        "events": events,
        "usage": {
            "input": usage.prompt_token_count,
            "output": usage.response_token_count,
            "total": usage.total_token_count,
        },
    }


if __name__ == "__main__":
    json.dump({"version": genai.__version__, **asyncio.run(talk())}, sys.stdout)
