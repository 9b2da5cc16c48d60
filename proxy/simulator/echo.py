"""The echo: any method and path, answered with what was received, for comparing two sides of a gateway.

A caller asks with `x-sim-echo: 1`, and shapes the answer: `x-sim-status` its status, `x-sim-bytes` a body of so much
noise in the place of the JSON, `x-sim-reply` (as often as wanted) a header `Name: value` of its own.
Refuses nothing a server may send; what is not HTTP is the caller's own doing.
"""

import hashlib

from proxy.simulator.answer import JSON, Answer, Event, encode, head
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument
from proxy.simulator.images import noise


def echo(call: Call, received: list[tuple[str, str]]) -> Answer:
    status = call.number("status", 200)
    if not 200 <= status <= 599:
        raise invalid_argument(f"x-sim-status takes 200 to 599, found {status}")
    own = [tuple(part.strip() for part in line.split(":", 1)) for line in call.headers.getall("x-sim-reply", [])]
    if not all(len(header) == 2 for header in own):
        raise invalid_argument('x-sim-reply takes "Name: value"')
    headers = tuple((name, value) for name, value in own)
    if call.switch("bytes") is not None:
        body, content_type = noise(call.number("bytes", 0)), "application/octet-stream"
    else:
        content_type = JSON
        body = encode(
            {
                "method": call.method,
                "target": call.target,
                "headers": received,
                "bodyBytes": len(call.body),
                "bodySha256": hashlib.sha256(call.body).hexdigest(),
            }
        )
    if any(name.lower() == "content-type" for name, _ in headers):
        return Answer(status, headers, (Event([body]),))
    return Answer(status, (*head(content_type), *headers), (Event([body]),))
