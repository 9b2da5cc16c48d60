"""Who asks, and who goes on asking: a principal, and an upload that began here and is continued.

`auth` finds the first and may take it from the second, which only the wire can make: from an address that the
gateway sealed at the upload's start. Neither holds a credential.
"""

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """Who asks, as `auth` found it."""

    subject: str
    team: str
    key_id: str | None = None  # of a team key; never the key


class Continuation(msgspec.Struct, frozen=True):
    """What the gateway knew when the upload began, for the later requests of it, which carry no credential."""

    endpoint: str  # its name: the upload goes on in that account, and in no other
    principal: Principal | None  # None where the route asks nobody who they are
    until: float  # unix seconds; then it is worth nothing
