"""The certificate of the public listener, and its renewal while connections are open.

`app.py` makes one `Certificate` where `[server] tls` is given, hands its `context` to the listener and calls
`renew` when the files may have changed. A pair that cannot be used changes nothing. It never shows a key.
"""

import hashlib
import ssl
from pathlib import Path


class Certificate:
    """A certificate chain and its key, in PEM files.

    Raises ValueError, naming the file, when the pair cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._digest = self._read_digest()
        self._newest = self.context = _context(certificate, key)
        # A listener keeps the context it was opened with. Each handshake changes over to the newest one: loading
        # into the live context would leave it broken when the second of the two files is bad.
        self.context.sni_callback = self._change_over

    def renew(self) -> bool:
        """Take the files' present content for new connections; True if it is another. Raises ValueError."""
        digest = self._read_digest()
        if digest == self._digest:
            return False
        self._newest = _context(*self._files)
        self._digest = digest
        return True

    def _change_over(self, handshake: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """OpenSSL calls it in every handshake, also of callers that name no host."""
        handshake.context = self._newest

    def _read_digest(self) -> bytes:
        digest = hashlib.sha256()
        for file in self._files:
            try:
                digest.update(file.read_bytes())
            except OSError as error:
                raise ValueError(f"cannot read {file}: {error.strerror}") from error
        return digest.digest()


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        # Without a reason it is a PEM file that does not hold what it should.
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        reason = "the key is not that of the certificate" if mismatch else error.reason or "not PEM files of their kind"
        raise ValueError(f"cannot use {certificate} with the key {key}: {reason}") from None
    except OSError as error:  # gone since its content was looked at: a renewal is under way
        raise ValueError(f"cannot read {certificate} or {key}: {error.strerror}") from None
    return context


def _no_password() -> str:
    """Without it OpenSSL would ask on the terminal, and the gateway would hang."""
    raise ValueError("the key is encrypted; store it without a passphrase, readable by the gateway alone")
