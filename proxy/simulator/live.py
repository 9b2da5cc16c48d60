"""The Live API: a WebSocket session of turns that echo what was said (Gemini facts 1.4, 4.4 and 8).

The server calls `handshake` while a plain error can still be answered, and `hold` for the session itself. Counts come
in frames of their own, and each turn counts the whole context again. What goes wrong on demand stands in the
handshake's `x-sim-live`, or in a text that begins with "/": see `_COMMANDS`.
Refuses what Google refuses: a first message that is no setup, a model that holds no sessions.
"""

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from aiohttp import WSMsgType, web

from proxy.simulator import errors, prose
from proxy.simulator.answer import Answer
from proxy.simulator.call import Call, camel
from proxy.simulator.ledger import Entry
from proxy.simulator.models import Models
from proxy.simulator.usage import details, text_tokens

_SERVICES = ("GenerativeService", "LlmBidiService")
_METHODS = ("BidiGenerateContent", "BidiGenerateContentConstrained", "BidiGenerateMusic")
_MOST_BYTES = 32 << 20
_REASON_BYTES = 123
_SETUP_TOKENS = 509  # what an empty setup was seen to cost (Gemini fact 4.4)
_AUDIO_BYTES_A_TOKEN = 1280  # 25 tokens a second of 16 kHz, 16 bits
_ANSWER_TOKENS = 24
_CHUNKS = 2
_COMMANDS = (
    "/close CODE [REASON], /drop, /goaway, /hang, /ping, /big BYTES, /call FUNCTION, /mute (no counts), "
    "/late (they come last)"
)


class Closed(Exception):
    """The session is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def handshake(call: Call) -> Answer:
    """A 101, for `hold` to go on with. Raises the GoogleError of what is no session."""
    name = call.path.segments[-1].replace("/", ".").split(".")
    known = name[-1] in _METHODS and any(service in call.target for service in _SERVICES)
    if call.method != "GET" or call.headers.get("Upgrade", "").lower() != "websocket" or not known:
        raise errors.unknown_method()
    return Answer(101, (), ())


async def hold(request: web.BaseRequest, call: Call, entry: Entry, models: Models) -> web.StreamResponse:
    """The session, to its end. The ledger's body is what the caller said: all its messages, one after the other."""
    socket = web.WebSocketResponse(max_msg_size=_MOST_BYTES, compress=True)
    socket.headers["x-weir-simulator"] = "1"
    socket.headers["Server"] = "scaffolding on HTTPServer2"
    await socket.prepare(request)
    entry.status = 101
    session = _Session(request, socket, call, entry, models)
    try:
        await session.run()
        entry.complete = True
    except Closed as closed:
        reason = closed.reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
        await socket.close(code=closed.code, message=reason)
        entry.complete = True
    return socket


class _Session:
    def __init__(
        self, request: web.BaseRequest, socket: web.WebSocketResponse, call: Call, entry: Entry, models: Models
    ) -> None:
        self._request = request
        self._socket = socket
        self._call = call
        self._entry = entry
        self._models = models
        self._digest = hashlib.sha256()
        self._context: dict[str, int] = {"TEXT": _SETUP_TOKENS}  # by modality, of all turns so far
        self._said: dict[str, int] = {}  # of the turn that the caller has not ended yet
        self._audio = False  # asked for as the answer

    async def run(self) -> None:
        setup = await self._next()
        await self._command(self._call.switch("live") or "")
        await self._set_up(setup)
        while True:
            message = await self._next()
            text = self._hear(message)
            if text is not None and not await self._command(text):
                await self._answer(text)

    async def _next(self) -> dict[str, Any]:
        """The caller's next message. Raises Closed when it left."""
        message = await self._socket.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise Closed(1000, "")
        data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
        self._digest.update(data)
        self._entry.body_bytes += len(data)
        self._entry.body_sha256 = self._digest.hexdigest()
        try:
            document = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Closed(1007, f"Invalid JSON payload received. {error}") from error
        if not isinstance(document, dict):
            raise Closed(1007, "Invalid JSON payload received. Root element must be a message.")
        return cast("dict[str, Any]", camel(document))

    async def _set_up(self, message: Mapping[str, Any]) -> None:
        setup = message.get("setup")
        if not isinstance(setup, dict):
            raise Closed(1007, "setup must be the first message and only the first")
        name = str(setup.get("model", "")).rpartition("/")[2]
        self._entry.model = name
        if self._models.find(name) is None or not ("live" in name or "native-audio" in name):
            version = "v1beta" if "v1beta" in self._call.target else "v1"
            message_ = f"models/{name} is not found for API version {version}, or is not supported for "
            raise Closed(1008, message_ + "bidiGenerateContent.")
        modalities = setup.get("generationConfig", {}).get("responseModalities") or ["AUDIO"]
        self._audio = modalities == ["AUDIO"]
        self._context["TEXT"] += text_tokens(msgspec.json.encode(setup.get("systemInstruction") or ""))
        await self._send({"setupComplete": {}})
        resumption = setup.get("sessionResumption")
        if isinstance(resumption, dict):
            handle = f"{resumption.get('handle', '')}+/=1"  # what it was given is still to be seen in it
            await self._send({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})

    def _hear(self, message: Mapping[str, Any]) -> str | None:
        """Count what was said; its text once the caller's turn is over, else None."""
        if "setup" in message:
            raise Closed(1007, "setup must be the first message and only the first")
        content = message.get("clientContent") or {}
        live = message.get("realtimeInput") or {}
        texts = [
            part["text"]
            for turn in content.get("turns") or ()
            for part in turn.get("parts") or ()
            if isinstance(part.get("text"), str)
        ]
        if isinstance(live.get("text"), str):
            texts.append(live["text"])
        answered = (message.get("toolResponse") or {}).get("functionResponses") or ()
        texts += [msgspec.json.encode(each.get("response")).decode() for each in answered if isinstance(each, dict)]
        for text in texts:
            self._said["TEXT"] = self._said.get("TEXT", 0) + text_tokens(text)
        for blob in (live.get("audio"), *(live.get("mediaChunks") or ())):
            if isinstance(blob, dict):
                heard = len(blob.get("data", "")) * 3 // 4
                self._said["AUDIO"] = self._said.get("AUDIO", 0) + max(1, heard // _AUDIO_BYTES_A_TOKEN)
        over = content.get("turnComplete") or "text" in live or live.get("audioStreamEnd") or live.get("activityEnd")
        over = over or answered
        return " ".join(texts) if over else None

    async def _command(self, text: str) -> bool:
        """Do what goes wrong on demand; False for what is no command, or changes only the counts."""
        name, _, rest = text.partition(" ")
        match name:
            case "/close":
                code, _, reason = rest.partition(" ")
                raise Closed(int(code), reason)
            case "/drop":
                if self._request.transport is not None:
                    self._request.transport.abort()
                raise ConnectionResetError("dropped on demand")
            case "/hang":
                await asyncio.Event().wait()  # until the caller leaves or the simulator stops
            case "/goaway":
                await self._send({"goAway": {"timeLeft": "50s"}})
            case "/ping":
                await self._socket.ping(rest.encode())
            case "/call":
                await self._send({"toolCall": {"functionCalls": [{"id": "call-1", "name": rest, "args": {"q": "ö"}}]}})
            case "/big":
                await self._send({"serverContent": {"modelTurn": {"parts": [{"text": "x" * int(rest)}]}}})
            case "/mute" | "/late":
                return False
            case _ if name.startswith("/"):
                raise Closed(1007, f"The commands are {_COMMANDS}")
            case _:
                return False
        return True

    async def _answer(self, asked: str) -> None:
        """One turn: the answer in pieces, counts on the way and at its end, and the word that it is over."""
        for modality, tokens in self._said.items():
            self._context[modality] = self._context.get(modality, 0) + tokens
        self._said = {}
        counted = not asked.startswith("/mute")
        text = prose.write(asked, _ANSWER_TOKENS)
        size = -(-len(text) // _CHUNKS)
        spoken = 0
        for start in range(0, len(text), size):
            piece = text[start : start + size]
            spoken += text_tokens(piece)
            await self._send({"serverContent": {"modelTurn": {"parts": [self._part(piece)]}}})
            if counted and start == 0:
                await self._send({"usageMetadata": self._usage(spoken)})  # on the way: running totals
        await self._send({"serverContent": {"generationComplete": True}})
        used = self._usage(spoken)
        late = asked.startswith("/late")
        if counted and not late:
            await self._send({"usageMetadata": used})
        await self._send({"serverContent": {"turnComplete": True}})
        if counted and late:
            await self._send({"usageMetadata": used})
        self._bill(used)
        output = "AUDIO" if self._audio else "TEXT"
        self._context[output] = self._context.get(output, 0) + spoken

    def _part(self, text: str) -> dict[str, Any]:
        if not self._audio:
            return {"text": text}
        sound = base64.b64encode(text.encode() * 20).decode()
        return {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": sound}}

    def _usage(self, spoken: int) -> dict[str, Any]:
        """Live says response where the rest of the API says candidates."""
        prompt = sum(self._context.values())
        return {
            "promptTokenCount": prompt,
            "responseTokenCount": spoken,
            "totalTokenCount": prompt + spoken,
            "promptTokensDetails": details(self._context),
            "responseTokensDetails": details({"AUDIO" if self._audio else "TEXT": spoken}),
        }

    def _bill(self, used: Mapping[str, Any]) -> None:
        billed = dict(self._entry.billed or {})
        for name in ("promptTokenCount", "responseTokenCount", "totalTokenCount"):
            billed[name] = billed.get(name, 0) + used[name]
        self._entry.billed = self._entry.usage = billed

    async def _send(self, message: Mapping[str, Any]) -> None:
        """Google's frames are binary; `x-sim-frames: text` makes them text."""
        data = msgspec.json.encode(message)
        if self._call.switch("frames") == "text":
            await self._socket.send_str(data.decode())
        else:
            await self._socket.send_bytes(data)
        self._entry.sent_bytes += len(data)
