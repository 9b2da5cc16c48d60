"""Where an exchange can go: an endpoint, and the credential that we put in for it.

Made from the routes file alone; no field of a caller ever chooses a host. Plugins order and drop endpoints, the
wire opens connections to them.
"""

from ipaddress import ip_address

import msgspec

from proxy.units import Secret


class ApiKey(msgspec.Struct, frozen=True):
    """An AI Studio key, or a Vertex express key."""

    secret: Secret


class GoogleAccount(msgspec.Struct, frozen=True):
    """An OAuth access token got by google-auth: `default` (ADC) or a service account's JSON file."""

    source: str


Credential = ApiKey | GoogleAccount


class Endpoint(msgspec.Struct, frozen=True):
    """A base URL, its region and the credential we put in. The only source of an upstream's host."""

    name: str
    url: str  # scheme, host and optional port; no path
    region: str
    priority: int = 0  # lower first
    weight: int = 1
    credential: Credential | None = None


def is_loopback(host: str) -> bool:
    """True for names and addresses that never leave this machine; `127.evil.example` is not one."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
