"""LiteLLM's own pass-through for Gemini, as pip installs it: one worker, the master key, no database."""

from bench.targets import TOOLS, UPSTREAM_KEY, Place, Start, Target

_MASTER_KEY = "sk-bench-1234"
_SETTINGS = f"""
model_list: []
general_settings: {{master_key: {_MASTER_KEY}}}
litellm_settings: {{telemetry: false}}
"""


def _start(place: Place) -> Start:
    file = place.folder / "litellm.yaml"
    file.write_text(_SETTINGS)
    environment = {
        "GEMINI_API_BASE": f"{place.scheme}://127.0.0.1:{place.upstream}",
        "GEMINI_API_KEY": UPSTREAM_KEY,
        "HOME": str(place.folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks GitHub
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(TOOLS / "litellm/bin/litellm"), "--config", str(file), "--host", "127.0.0.1"]
    return [*command, "--port", str(place.port), "--num_workers", "1"], environment


TARGETS = (
    Target(
        name="litellm",
        label="LiteLLM, Gemini pass-through",
        start=_start,
        phases=("small", "events", "image", "slow", "held", "upload"),
        headers=(("x-goog-api-key", _MASTER_KEY),),
        prefix="/gemini",
        wait=120,
        note="writes request bodies anew",
    ),
)
