"""What a credential looks like, said once: the service log and the usage log hide by it.

`hide_credentials` knows shapes only, wherever they stand; `log.py` adds the places where a secret of no known
shape stands. Its text is a stranger's, so each pattern reads every run of characters once: a run begins only
where none goes on (a lookbehind), and what was read is not given back (possessive, `++`). It promises nothing
about secrets without a shape.
"""

import re

HIDDEN = "***"

# Where a word begins, also right behind an escape: `\nkey=` in a repr, `%3DAQ.` in a URL.
BEGIN = r"(?:\b|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2}))"

# Google's API keys, auth keys, OAuth access and refresh tokens and client secrets, our team keys (but not the
# names of our metrics), JWTs (RFC 7515 section 7.1) with what is glued to their front, private keys.
_SHAPES = re.compile(
    r"AIza[\w-]{8,}"
    rf"|{BEGIN}AQ\.[\w.-]{{8,}}"
    rf"|{BEGIN}ya29\.[\w.-]{{8,}}"
    rf"|{BEGIN}1//[\w-]{{16,}}"
    r"|GOCSPX-[\w-]{8,}"
    rf"|{BEGIN}weir_(?![a-z_]{{1,64}}(?![\w-]))[\w-]{{8,}}"
    r"|(?<![\w-])[\w-]{0,32}?eyJ[\w-]{4,}+\.[\w-]{4,}+(?:\.[\w-]*+)?"
    r"|-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
# One of these is in each of them; looking for plain words costs a fifteenth of the above (measured on a path).
_HINTS = re.compile(r"AIza|AQ\.|ya29\.|1//|GOCSPX-|weir_|eyJ|-----BEGIN ")


def hide_credentials(text: str) -> str:
    """The text with everything that looks like a credential replaced by `***`."""
    return text if _HINTS.search(text) is None else _SHAPES.sub(HIDDEN, text)
