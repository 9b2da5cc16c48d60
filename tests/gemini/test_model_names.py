"""Under which name of the price file a model is found, and that nothing is found by guessing."""

import pytest

from proxy.gemini.model_names import find_model
from tests.support.bill import PRICE_FILE, bound

PRICES = bound(PRICE_FILE.read_text())


@pytest.mark.parametrize(
    ("asked", "answered", "found"),
    [
        ("gemini-2.5-flash", None, "gemini-2.5-flash"),
        ("models/gemini-2.5-flash", None, "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-flash", None, "gemini-2.5-flash"),
        ("google/gemini-2.5-flash", None, "gemini-2.5-flash"),
        ("gemini-2.5-flash-001", None, "gemini-2.5-flash"),
        ("gemini-2.5-flash@default", None, "gemini-2.5-flash"),
        ("gemini-2.5-flash-preview-09-2025", None, "gemini-2.5-flash"),
        ("gemini-2.5-pro-preview-06-05", None, "gemini-2.5-pro"),
        ("gemini-3-flash-preview-12-2025", None, "gemini-3-flash-preview"),
        ("imagen-4.0-generate-001", None, "imagen-4.0-generate-001"),  # the number is a part of its name
        ("gemini-embedding-001", None, "gemini-embedding-001"),
        ("nano-banana-pro-preview", None, "gemini-3-pro-image"),
        ("gemini-flash-latest", None, "gemini-3.8-flash"),
        ("gemini-flash-latest", "gemini-3.7-flash", "gemini-3.7-flash"),  # the answer knows where the alias led
        ("tunedModels/mine", "models/gemini-2.5-flash-001", "gemini-2.5-flash"),
        (None, "gemini-2.5-pro", "gemini-2.5-pro"),
        ("gemini-2.5-flash-ultra", None, None),
        ("gemini-2.5", None, None),
        ("claude-opus", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_names(asked: str | None, answered: str | None, found: str | None) -> None:
    assert find_model(PRICES, asked, answered) == found
