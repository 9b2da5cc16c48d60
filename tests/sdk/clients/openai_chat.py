"""A program of somebody who uses openai-python with Gemini: each call once, what came back as JSON.

`tests/sdk/test_openai.py` runs it with `WEIR_URL` and `WEIR_KEY` in the environment. It asserts nothing.
"""

import json
import os
import sys
from typing import Any

import openai
from openai import OpenAI

TEXT = "gemini-2.5-flash"
EMBEDDING = "gemini-embedding-2"
PROMPT = "Why do butterflies have scales?"


def call() -> dict[str, Any]:
    client = OpenAI(api_key=os.environ["WEIR_KEY"], base_url=os.environ["WEIR_URL"] + "/v1beta/openai/", max_retries=0)
    whole = client.chat.completions.create(model=TEXT, messages=[{"role": "user", "content": PROMPT}])
    chunks = list(
        client.chat.completions.create(
            model=TEXT,
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    embedding = client.embeddings.create(model=EMBEDDING, input=PROMPT)
    seen = {
        "generate": {"text": whole.choices[0].message.content, "usage": usage(whole.usage)},
        "stream": {
            "text": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "chunks": len(chunks),
            "usage": usage(next(chunk.usage for chunk in reversed(chunks) if chunk.usage)),
        },
        "embed": embedding.data[0].embedding,
        "models": sorted(model.id for model in client.models.list()),
    }
    try:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": PROMPT}])
    except openai.APIStatusError as error:
        seen["error"] = {"type": type(error).__name__, "code": error.status_code, "message": error.message}
    return seen


def usage(found: Any) -> dict[str, int]:
    return {"input": found.prompt_tokens, "output": found.completion_tokens, "total": found.total_tokens}


if __name__ == "__main__":
    json.dump({"version": openai.__version__, **call()}, sys.stdout)
