"""Seals a few bytes into text for a URL, which only holders of the same secret can read or make.

`uploads.py` puts what it must remember into the caller's hands with it, so that every process and machine with the
secret can go on. AES-GCM: whether a seal is whole is decided by the cipher, in constant time. Knows nothing of what
it seals, and no time: whoever needs an expiry seals one in.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12  # by chance: good for 2^32 seals under one secret (NIST SP 800-38D, 8.3)
_PURPOSE = b"gemini-weir seal 1"  # another number for another layout, so that neither opens the other's


class Broken(Exception):
    """Not sealed with this secret, or for something else, or changed since."""


class Seal:
    """Made once a process from the secret, whose strength is its author's business (`[server] seal`)."""

    def __init__(self, secret: str) -> None:
        key = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
        self._cipher = AESGCM(key)

    def close(self, facts: bytes, *, bound_to: bytes) -> str:
        """Letters, digits, `-` and `_` only. Opens only together with the same `bound_to`, which is not in it."""
        nonce = os.urandom(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, facts, bound_to)).rstrip(b"=").decode()

    def open(self, text: str, *, bound_to: bytes) -> bytes:
        """Raises Broken."""
        try:
            sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if urlsafe_b64encode(sealed).rstrip(b"=").decode() != text:
                raise Broken  # base64 has several spellings for the same bytes; ours is the only one taken
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):  # ValueError: no base64, or too short
            raise Broken from None
