"""One name for what Google's bill and a charge line of ours both count, so that the two can stand in one row.

`reconcile.py` asks it. The table is data, in `google_skus.toml`; this file only applies it. It guesses nothing:
a SKU that no entry fits has no name, and is listed by itself.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

Entry = TypeVar("Entry", "_Model", "_Meter", "_Tier")
EVERY = "*"
STORAGE = "storage"  # of caches, by the hour: no exchange uses it


class Position(msgspec.Struct, frozen=True, order=True):
    """What is compared: a model's meter at a tier; `*` where Google's bill does not tell them apart."""

    model: str
    meter: str
    tier: str

    def __str__(self) -> str:
        return f"{self.model} {self.meter} {self.tier}"


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    models: list[str]  # as records name it: shell patterns
    sku: str


class _Meter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    meters: list[str]  # as charge lines name it
    sku: str
    every_model: bool = False
    every_tier: bool = False


class _Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    sku: str


class Skus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table. `services` are those of the bill that it speaks of, `zone` where the bill's day begins."""

    services: list[str]
    zone: str
    models: list[_Model]
    meters: list[_Meter]
    tiers: list[_Tier]

    def of_line(self, model: str, meter: str, tier: str) -> Position:
        """Of a charge line. What the table does not know keeps its own name."""
        known = next((entry for entry in self.meters if meter in entry.meters), None)
        name = next(
            (entry.name for entry in self.models if any(fnmatchcase(model, pattern) for pattern in entry.models)), model
        )
        if known is None:
            return Position(name, meter, tier)
        return Position(EVERY if known.every_model else name, known.name, EVERY if known.every_tier else tier)

    def of_sku(self, description: str) -> Position | None:
        """Of a SKU of Google's; None where the table does not know it."""
        text = re.sub(r"[_\s]+", " ", description).lower().strip()
        if STORAGE in text:
            return None
        meter = _first(self.meters, text)
        model = _first(self.models, text)
        tier = _first(self.tiers, text)
        if meter is None or tier is None or (model is None and not meter.every_model):
            return None
        name = EVERY if meter.every_model or model is None else model.name
        return Position(name, meter.name, EVERY if meter.every_tier else tier.name)


@cache
def skus() -> Skus:
    return msgspec.toml.decode(Path(__file__).with_name("google_skus.toml").read_bytes(), type=Skus)


def _first(entries: Sequence[Entry], text: str) -> Entry | None:
    return next((entry for entry in entries if re.search(entry.sku, text)), None)
