"""Facts that are plain classes: equal by all they hold, compiled too."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from proxy import Intent, Operation
from proxy.endpoint import ApiKey, Endpoint, GoogleAccount
from proxy.units import Secret


@pytest.mark.parametrize(
    ("make", "facts", "others"),
    [
        (
            Operation,
            {"name": "files.get"},
            {
                "name": "x",
                "api": "gemini",
                "model": "m",
                "location": "eu",
                **dict.fromkeys(["model_in_body", "streams", "generates", "account_bound", "billed_by_body"], True),
            },
        ),
        (
            Intent,
            {},
            {
                "model": "m",
                "stream": True,
                "wants_images": True,
                "image_size": "1K",
                "service_tier": "flex",
                "video_resolution": "720p",
                "candidate_count": 2,
                **dict.fromkeys(["input_tokens", "input_images", "max_output_tokens", "thinking_budget"], 7),
                **dict.fromkeys(["image_count", "video_seconds"], 7),
            },
        ),
        (
            Endpoint,
            {"name": "a", "url": "https://a.example", "region": "eu"},
            {
                "name": "b",
                "url": "https://b.example",
                "region": "us",
                "priority": 1,
                "weight": 2,
                "credential": ApiKey(Secret("hunter2", "env:A")),
            },
        ),
        (GoogleAccount, {"source": "default"}, {"source": "file"}),
    ],
)
def test_each_fact_counts(make: Callable[..., Any], facts: dict[str, Any], others: dict[str, Any]) -> None:
    one = make(**facts)
    assert one == make(**facts)
    assert hash(one) == hash(make(**facts))
    assert others.keys() >= signature(make).parameters.keys(), "each fact has another value"
    for name, value in others.items():
        other = make(**(facts | {name: value}))
        assert getattr(other, name) == value
        assert other != one
        assert repr(other) != repr(one)
        assert "hunter2" not in repr(other)
    assert one != "another kind"
