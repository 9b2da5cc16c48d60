"""What a Content-Type says of an answer, found once for each: endpoints send few.

`meter.py` asks at each response head. Nothing here knows what any operation answers with.
"""

from typing import Final, final

# JSON goes by these too: an error before the first event, a bare proxy.
TEXT_TYPES: Final = frozenset({"", "text/plain"})
_MOST = 64  # that are remembered


@final
class Media:
    """A media type.

    Attributes:
        is_text: what Google sends as JSON goes by it.
    """

    __slots__ = ("is_text", "type")

    def __init__(self, content_type: bytes) -> None:
        self.type: Final = content_type.decode("utf-8", "surrogateescape").partition(";")[0].strip().lower()
        self.is_text: Final = self.type in TEXT_TYPES or "json" in self.type


_media: Final[dict[bytes, Media]] = {}


def media_of(content_type: bytes) -> Media:
    media = _media.get(content_type)
    if media is None:
        if len(_media) >= _MOST:
            _media.clear()
        media = _media[content_type] = Media(content_type)
    return media
