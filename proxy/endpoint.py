"""Where an exchange can go: an endpoint, and the credential that we put in for it.

Made from the routes file alone; no field of a caller ever chooses a host. Plugins order and drop endpoints, the
wire opens connections to them. None of these facts changes.
"""

from ipaddress import ip_address
from typing import Final, final

from proxy.units import Secret


@final
class ApiKey:
    """An AI Studio key, or a Vertex express key."""

    __slots__ = ("secret",)

    def __init__(self, secret: Secret) -> None:
        self.secret: Final = secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and self.secret == other.secret

    def __hash__(self) -> int:
        return hash(self.secret)

    def __repr__(self) -> str:
        return f"ApiKey({self.secret!r})"  # which hides itself


@final
class GoogleAccount:
    """An OAuth access token got by google-auth: `default` (ADC) or a service account's JSON file."""

    __slots__ = ("source",)

    def __init__(self, source: str) -> None:
        self.source: Final = source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GoogleAccount) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"GoogleAccount({self.source!r})"


Credential = ApiKey | GoogleAccount


@final
class Endpoint:
    """A base URL, its region and the credential we put in. The only source of an upstream's host.

    Attributes:
        url: scheme, host and optional port; no path.
        priority: lower first.
    """

    __slots__ = ("credential", "name", "priority", "region", "url", "weight")

    def __init__(
        self,
        name: str,
        url: str,
        region: str,
        priority: int = 0,
        weight: int = 1,
        credential: Credential | None = None,
    ) -> None:
        self.name: Final = name
        self.url: Final = url
        self.region: Final = region
        self.priority: Final = priority
        self.weight: Final = weight
        self.credential: Final = credential

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        return f"Endpoint{self._facts()}"

    def _facts(self) -> tuple[object, ...]:
        return self.name, self.url, self.region, self.priority, self.weight, self.credential


def is_loopback(host: str) -> bool:
    """True for names and addresses that never leave this machine; `127.evil.example` is not one."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
