"""How the tests of the simulator call it: real sockets, the key of an account, the whole answer in memory."""

import json
from typing import Any

import aiohttp

from proxy.simulator import Entry, Simulator

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
DRAW = "/v1beta/models/gemini-3-pro-image:generateContent"
ASK = {"contents": [{"parts": [{"text": "How much water?"}]}]}  # 15 bytes: 4 tokens


class Reply:
    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The documents of a stream of `data:` lines, each ended by CRLF CRLF as Google ends them."""
        lines = self.body.split(b"\r\n\r\n")
        assert lines.pop() == b""
        assert all(line.startswith(b"data: ") for line in lines)
        return [json.loads(line.removeprefix(b"data: ")) for line in lines]


class Caller:
    def __init__(self, session: aiohttp.ClientSession, simulator: Simulator) -> None:
        self.session = session
        self.simulator = simulator

    async def post(self, path: str, body: object = ASK, *, key: str | None = "k", **headers: str) -> Reply:
        return await self.send("POST", path, body, key=key, **headers)

    async def get(self, path: str, *, key: str | None = "k", **headers: str) -> Reply:
        return await self.send("GET", path, None, key=key, **headers)

    async def send(self, method: str, path: str, body: object, *, key: str | None = "k", **headers: str) -> Reply:
        """Headers are named as keywords: `x_sim_fault="hang"` sends `x-sim-fault: hang`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["x-goog-api-key"] = key
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(method, self.simulator.url + path, data=data, headers=sent) as response:
            return Reply(response, await response.read())

    async def last(self) -> Entry:
        """The ledger's newest entry, once nothing is under way."""
        await self.simulator.idle()
        return self.simulator.ledger[-1]
