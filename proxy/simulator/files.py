"""The Files API: upload (resumable, raw, multipart), get, list, delete, download (Gemini facts 1.2 and 1.3).

The answer to a start is empty text/plain with an absolute address on the host that was called; chunks come without
a credential and are known by their upload id alone. Unlike Google, which gives back generated files only, small
uploaded ones can be downloaded too.
Refuses a chunk at a wrong offset, an upload id it never gave, and every file to any account but its owner's.
"""

import base64
import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta

import msgspec

from proxy.simulator.answer import Answer, Event, head, unary
from proxy.simulator.asked import FileFacts, FileStart
from proxy.simulator.call import Call
from proxy.simulator.errors import GoogleError, invalid_argument, unknown_method
from proxy.simulator.storage import Resource, Storage, owned_by

_GRANULARITY_BYTES = 8 << 20
_KEPT = timedelta(hours=48)
_KEPT_BYTES = 1 << 20  # of a file's content, to be downloaded
_BOUNDARY = re.compile(r'boundary="?([^";]+)', re.IGNORECASE)
_GOOGLE = "https://generativelanguage.googleapis.com/v1beta/"


class Upload:
    """An upload under way: its owner, what was announced, what has come."""

    def __init__(self, owner: str | None, facts: FileFacts, mime_type: str) -> None:
        self.owner = owner
        self.facts = facts
        self.mime_type = mime_type
        self.received_bytes = 0
        self.digest = hashlib.sha256()
        self.content: bytes | None = b""

    def add(self, data: bytes) -> "Upload":
        self.received_bytes += len(data)
        self.digest.update(data)
        if self.content is not None:
            self.content = self.content + data if self.received_bytes <= _KEPT_BYTES else None
        return self


class Files:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploads: dict[str, Upload] = {}

    def is_chunk(self, call: Call) -> bool:
        """A chunk is authorised by its address: Python's SDK sends no key with it."""
        return call.path.upload and call.query.get("upload_id") in self._uploads

    def answer(self, call: Call) -> Answer:
        if call.path.upload and call.method == "POST":
            return self._chunk(call) if "upload_id" in call.query else self._upload(call)
        name = "/".join(call.path.segments)
        match call.method, len(call.path.segments):
            case "GET", 2 if call.path.verb == "download":
                return self._download(self._storage.file(call.account, name))
            case "GET", 1:
                return unary({"files": owned_by(self._storage.files, call.account)})
            case "GET", 2:
                return unary(self._storage.file(call.account, name).document)
            case "DELETE", 2:
                self._storage.file(call.account, name)
                del self._storage.files[name]
                return unary({})
            case "POST", 1:
                return self._finish(Upload(call.account, call.read(FileStart).file, ""))
            case _:
                raise unknown_method()

    def _upload(self, call: Call) -> Answer:
        """By Google's protocol header, or by the older `uploadType`; a plain POST is the file itself."""
        protocol = call.headers.get("X-Goog-Upload-Protocol") or call.query.get("uploadType", "raw")
        mime_type = call.headers.get("X-Goog-Upload-Header-Content-Type", "")
        content_type = call.headers.get("Content-Type", "application/octet-stream")
        match protocol:
            case "resumable" if call.headers.get("X-Goog-Upload-Command") == "start":
                return self._start(call, mime_type or "application/octet-stream")
            case "multipart":
                facts, mime_type, data = _parts(call.body, content_type)
                return self._finish(Upload(call.account, facts, mime_type).add(data))
            case "raw" | "media":
                return self._finish(Upload(call.account, FileFacts(), mime_type or content_type).add(call.body))
            case _:
                raise invalid_argument(f"The simulator knows no upload by {protocol} that begins like this.")

    def _start(self, call: Call, mime_type: str) -> Answer:
        upload_id = secrets.token_urlsafe(24)
        self._uploads[upload_id] = Upload(call.account, call.read(FileStart).file, mime_type)
        raw_path = call.target.partition("?")[0]
        address = f"{call.base_url}{raw_path}?upload_id={upload_id}&upload_protocol=resumable"
        headers = (
            *head("text/plain; charset=utf-8"),
            ("X-Goog-Upload-Status", "active"),
            ("X-Goog-Upload-URL", address),
            ("X-Goog-Upload-Control-URL", address),
            ("X-Goog-Upload-Chunk-Granularity", str(_GRANULARITY_BYTES)),
        )
        return Answer(200, headers, (Event([b""]),))

    def _chunk(self, call: Call) -> Answer:
        upload = self._uploads.get(call.query["upload_id"])
        if upload is None:
            raise GoogleError(404, "Upload session not found.")
        commands = {command.strip() for command in call.headers.get("X-Goog-Upload-Command", "").split(",")}
        if not commands <= {"upload", "finalize", "query"} or not commands:
            raise invalid_argument(f"Unknown upload command: {', '.join(sorted(commands))}")
        offset = call.headers.get("X-Goog-Upload-Offset", "0")
        if "upload" in commands:
            if offset != str(upload.received_bytes):
                raise invalid_argument(f"Upload offset {offset} does not match {upload.received_bytes} bytes received.")
            upload.add(call.body)
        if "finalize" not in commands:
            received = ("X-Goog-Upload-Size-Received", str(upload.received_bytes))
            headers = (*head("text/plain; charset=utf-8"), ("X-Goog-Upload-Status", "active"), received)
            return Answer(200, headers, (Event([b""]),))
        del self._uploads[call.query["upload_id"]]
        done = self._finish(upload)
        return Answer(done.status, (*done.headers, ("X-Goog-Upload-Status", "final")), done.events)

    def _finish(self, upload: Upload) -> Answer:
        name = upload.facts.name or f"files/{secrets.token_hex(6)}"
        now = datetime.now(UTC)
        document = {
            "name": name,
            "displayName": upload.facts.display_name,
            "mimeType": upload.mime_type or upload.facts.mime_type,
            "sizeBytes": str(upload.received_bytes),
            "createTime": _stamp(now),
            "updateTime": _stamp(now),
            "expirationTime": _stamp(now + _KEPT),
            "sha256Hash": base64.b64encode(upload.digest.hexdigest().encode()).decode(),
            # A Google address on purpose: it is sent back as fileData.fileUri, never fetched from here.
            "uri": _GOOGLE + name,
            "state": "ACTIVE",
            "source": "UPLOADED",
        }
        self._storage.files[name] = Resource(upload.owner, document, content=upload.content)
        return unary({"file": document})

    def _download(self, file: Resource) -> Answer:
        if file.content is None:
            raise invalid_argument(f"The simulator keeps files of up to {_KEPT_BYTES} bytes only.")
        return Answer(200, head(file.document["mimeType"]), (Event([file.content]),))


def _parts(body: bytes, content_type: str) -> tuple[FileFacts, str, bytes]:
    """Of multipart/related: what the JSON part says, the second part's type and its bytes (RFC 2387)."""
    boundary = _BOUNDARY.search(content_type)
    parts = body.split(b"\r\n--" + boundary[1].encode()) if boundary is not None else []
    if boundary is None or len(parts) != 3 or not parts[0].startswith(b"--" + boundary[1].encode()):
        raise invalid_argument("A multipart upload has two parts: a JSON document and the file.")
    (_, document), (described, data) = (part.partition(b"\r\n\r\n")[::2] for part in parts[:2])
    mime_type = re.search(rb"(?i)content-type:\s*([^\s;]+)", described)
    try:
        start = msgspec.json.decode(document, type=FileStart)
    except msgspec.DecodeError as error:
        raise invalid_argument(f"Invalid JSON payload received. {error}") from error
    return start.file, mime_type[1].decode() if mime_type is not None else "application/octet-stream", data


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
