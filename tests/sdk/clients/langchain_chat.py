"""A program of somebody who uses LangChain with Gemini: a call and a stream, what came back as JSON.

`tests/sdk/test_langchain.py` runs it with `WEIR_URL` and `WEIR_KEY` in the environment. It asserts nothing.
"""

import json
import os
import sys
from typing import Any

from langchain_google_genai import ChatGoogleGenerativeAI

PROMPT = "Why do butterflies have scales?"


def call() -> dict[str, Any]:
    model = ChatGoogleGenerativeAI(
        model="gemini-2.5-flash",
        api_key=os.environ["WEIR_KEY"],
        base_url=os.environ["WEIR_URL"],
        max_retries=1,
    )
    whole = model.invoke(PROMPT)
    chunks = list(model.stream(PROMPT))
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined += chunk
    return {
        "generate": {"text": whole.text, "usage": usage(whole.usage_metadata)},
        "stream": {"text": joined.text, "usage": usage(joined.usage_metadata)},
    }


def usage(found: Any) -> dict[str, int]:
    return {"input": found["input_tokens"], "output": found["output_tokens"], "total": found["total_tokens"]}


if __name__ == "__main__":
    json.dump(call(), sys.stdout)
