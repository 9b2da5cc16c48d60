"""Which model of the price list a record was run by: its name as asked for, or as the answer gave it.

`prices.py` asks once for each name. Google publishes one model under several: with a version behind it, with the
date of a preview, as an alias that moves. It refuses to guess further than that: what is not found has no price.
"""

import re
from collections.abc import Iterator

from proxy.gemini.paths import bare_model
from proxy.gemini.price_list import PriceList

# `@001` and `@default` are Vertex's; `-001` a stable version; `-preview-09-2025` and `-preview-06-17` dated previews.
_VERSION = re.compile(r"@[a-z0-9-]+$|-\d{3}$")
_DATED_PREVIEW = re.compile(r"-preview-(?:\d{2}-\d{2,4}|\d{4}-\d{2}(?:-\d{2})?)$")


def find_model(prices: PriceList, asked: str | None, answered: str | None) -> str | None:
    """The name that has the price, or None.

    An alias comes last: Google moves it, and the answer says where to.
    """
    names = [bare_model(name) for name in (asked, answered) if name]
    for name in names:
        for spelling in _spellings(name):
            if spelling in prices.models:
                return spelling
    for name in names:
        for spelling in _spellings(name):
            if spelling in prices.aliases:
                return prices.aliases[spelling]
    return None


def _spellings(name: str) -> Iterator[str]:
    yield name
    plain = _VERSION.sub("", name)
    yield plain
    yield _DATED_PREVIEW.sub("-preview", plain)
    yield _DATED_PREVIEW.sub("", plain)
