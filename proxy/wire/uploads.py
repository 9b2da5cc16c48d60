"""Keeps a resumable upload on the gateway: the address that its start is answered with becomes one of ours.

Google answers a start with an absolute address of its own, and Python's SDK posts the pieces straight there, without
any credential (Gemini fact 1.2). So the address gets our scheme and host, keeps its path and query, and gets one
parameter more: endpoint, principal and expiry, sealed for this very target. `server.py` has `open` take it off each
request, the HTTP relay has `rewrite` put it into an answer. It admits nobody: auth and the engine act on what it found.
"""

import re
from urllib.parse import parse_qsl

import msgspec

from proxy.exchange import Exchange
from proxy.gemini.credentials import without_credentials
from proxy.head import RawField
from proxy.operation import Operation
from proxy.plugin import Clock
from proxy.principal import Continuation
from proxy.refusal import Refusal
from proxy.wire.request import Request
from proxy.wire.seal import Broken, Seal

PARAMETER = "weir_upload"
_FIELD = PARAMETER + "="
_ADDRESSES = frozenset({b"x-goog-upload-url", b"x-goog-upload-control-url"})
_UPLOADS = (".upload", ".uploadToFileSearchStore")  # ends of operations' names
_ABSOLUTE = re.compile(r"(?i)https?://[^/?#]+(?P<target>/[^#]*)")
# Google's word for an upload that is over. Without it, Python's SDK sends the piece twice more (Gemini fact 1.2).
OVER = ("X-Goog-Upload-Status", "cancelled")


class Uploads:
    """See the module.

    Args:
        life_seconds: how long an address stays good.
        public_url: what callers call us, with the path of a front end if there is one; None: as each caller says.
    """

    def __init__(self, seal: Seal, clock: Clock, *, life_seconds: float, public_url: str | None = None) -> None:
        self._seal = seal
        self._clock = clock
        self._life_seconds = life_seconds
        self._public_url = public_url.rstrip("/") if public_url is not None else None

    def open(self, target: str) -> tuple[str, Continuation | Refusal | None]:
        """The target as the endpoint gave it, and what was sealed into it; a Refusal where that is no good."""
        path, _, query = target.partition("?")
        if _FIELD not in query:
            return target, None
        fields = query.split("&")
        seals = [field.removeprefix(_FIELD) for field in fields if field.startswith(_FIELD)]
        if not seals:
            return target, None
        rest = "&".join(field for field in fields if not field.startswith(_FIELD))
        target = f"{path}?{rest}" if rest else path
        return target, self._unsealed(seals, target)

    def rewrite(self, fields: list[RawField], exchange: Exchange, request: Request) -> list[RawField]:
        """The fields of a good answer, with the addresses in one to an upload made ours; else as they are."""
        if not _of_upload(exchange.operation) or exchange.endpoint is None:
            return fields
        # An address that is handed out again, to a later piece, lives no longer than the first did.
        before = exchange.continued()
        until = before.until if before is not None else self._clock.time() + self._life_seconds
        facts = msgspec.msgpack.encode(Continuation(exchange.endpoint.name, exchange.principal, until))
        return [
            (name, self._ours(value, facts, request)) if name.lower() in _ADDRESSES else (name, value)
            for name, value in fields
        ]

    def _ours(self, address: bytes, facts: bytes, request: Request) -> bytes:
        """Its host is not looked at: the pieces go to the endpoint's, which the routes file names."""
        found = _ABSOLUTE.fullmatch(address.decode("latin-1"))
        if found is None:
            return address
        target = found["target"]
        mark = "&" if "?" in target else "?"
        seal = self._seal.close(facts, bound_to=_meaning(target))
        return f"{self._base(request)}{target}{mark}{_FIELD}{seal}".encode("latin-1")

    def _unsealed(self, seals: list[str], target: str) -> Continuation | Refusal:
        try:
            (seal,) = seals
            facts = self._seal.open(seal, bound_to=_meaning(target))
            found = msgspec.msgpack.decode(facts, type=Continuation)
        except (Broken, ValueError):  # ValueError: several of them, or the facts of another version of us
            message = "This upload's address was changed, or comes from another gateway, or from before its restart."
            return Refusal(403, f"{message} Start the upload again.", reason="UPLOAD_ADDRESS_INVALID")
        if found.until <= self._clock.time():
            message = "This upload's address has expired. Start the upload again."
            return Refusal(404, message, reason="UPLOAD_ADDRESS_EXPIRED")
        return found

    def _base(self, request: Request) -> str:
        """What this very caller calls us. A false Host leads nobody astray but him: the answer goes to no one else."""
        if self._public_url is not None:
            return self._public_url
        connection = request.connection
        return f"{connection.scheme}://{request.headers.get('host') or connection.listening_at}"


def _of_upload(operation: Operation) -> bool:
    return operation.account_bound and operation.name.endswith(_UPLOADS)


def _meaning(target: str) -> bytes:
    """What a seal is for: the path as it is spelt, the parameters as they are meant, and no more of them.

    SDKs take the address apart and put it together again. Credentials do not count: the JavaScript SDK may add one.
    """
    path, _, query = without_credentials(target).partition("?")
    # latin-1: bytes that are no UTF-8 must not all look the same
    return msgspec.json.encode([path, parse_qsl(query, keep_blank_values=True, encoding="latin-1")])
