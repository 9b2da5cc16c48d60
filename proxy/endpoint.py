"""Where an exchange can go: an endpoint, and the credential that we put in for it.

Made from the routes file alone; no field of a caller ever chooses a host. Plugins order and drop endpoints, the
wire opens connections to them. None of these facts changes.
"""

from ipaddress import ip_address
from typing import Final, NamedTuple, final

from proxy.fact import Fact
from proxy.units import Secret


class ApiKey(NamedTuple):
    """An AI Studio key, or a Vertex express key."""

    secret: Secret


class GoogleAccount(NamedTuple):
    """An OAuth access token got by google-auth: `default` (ADC) or a service account's JSON file."""

    source: str


Credential = ApiKey | GoogleAccount

_ENDPOINT: Final = ("name", "url", "region", "priority", "weight", "credential")


@final
class Endpoint(Fact):
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

    def names(self) -> tuple[str, ...]:
        return _ENDPOINT


def is_loopback(host: str) -> bool:
    """True for names and addresses that never leave this machine; `127.evil.example` is not one."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
