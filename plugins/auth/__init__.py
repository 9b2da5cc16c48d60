"""Who calls: team keys and identity providers' tokens to a Principal, or a refusal. Deny by default.

`auth.py` is the plugin. `credential` finds what the caller showed; `keys` and `keyring` are the team keys on
disk and in memory; `token_verifier` takes a token the road `token` (rules) - `issuer_keys` and `key_set`
(whose keys) - `claims` (which team). `access` says which models a team may use. Nothing is decided elsewhere.
"""

from plugins.auth.auth import Auth

__all__ = ["Auth"]
