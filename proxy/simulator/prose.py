"""What the simulator writes: its words, of exactly the length asked.

`generate.py` and `openai.py` use it. It quotes the question, so that a person sees which answer is whose; the
quotation marks are three bytes each, so that a reader who cuts UTF-8 in the middle is found out.
"""

TOKENS = 48  # unless x-sim-output-tokens asks for another length
_TOKEN_BYTES = 4
_WORDS = "the water goes over the weir and what passes is counted on its way down to the sea "


def write(asked: str, tokens: int) -> str:
    size = tokens * _TOKEN_BYTES
    opening = f"The simulator was asked: “{asked[:80]}”. "
    return (opening + _WORDS * (size // len(_WORDS) + 1)).encode()[:size].decode(errors="ignore")
