"""The query parameters that carry a credential to Google: which they are, and a target without them.

The wire takes them out of every target before it goes up, where our own credential takes their place. Headers
are the wire's business, and whose credential it was the auth plugin's.
"""

from urllib.parse import unquote_plus

# Google's system parameters, in both of their spellings (Gemini fact 1.8).
CREDENTIAL_PARAMETERS = frozenset({"key", "access_token", "oauth_token", "$key", "$access_token", "$oauth_token"})


def without_credentials(target: str) -> str:
    """The target without its credential parameters, every other byte as it was."""
    path, mark, query = target.partition("?")
    if not mark:
        return target
    fields = query.split("&")
    kept = [field for field in fields if unquote_plus(field.partition("=")[0]) not in CREDENTIAL_PARAMETERS]
    if len(kept) == len(fields):
        return target
    rest = "&".join(kept)
    return f"{path}?{rest}" if rest else path
