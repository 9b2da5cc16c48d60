"""The Files API: resumable upload (start, chunks, finalize), get, list, delete (Gemini fact 1.2).

The answer to a start is empty text/plain with an absolute address on the host that was called; chunks come without
a credential and are known by their upload id alone.
Refuses a chunk at a wrong offset, an upload id it never gave, and every file to any account but its owner's.
"""

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from proxy.simulator.answer import Answer, Event, head, unary
from proxy.simulator.asked import FileFacts, FileStart
from proxy.simulator.call import Call
from proxy.simulator.errors import GoogleError, invalid_argument, unknown_method
from proxy.simulator.storage import Resource, Storage, owned_by

_GRANULARITY_BYTES = 8 << 20
_KEPT = timedelta(hours=48)
_GOOGLE = "https://generativelanguage.googleapis.com/v1beta/"


class Upload:
    """An upload under way: its owner, what was announced, what has come."""

    def __init__(self, owner: str | None, facts: FileFacts, mime_type: str) -> None:
        self.owner = owner
        self.facts = facts
        self.mime_type = mime_type
        self.received_bytes = 0
        self.digest = hashlib.sha256()


class Files:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploads: dict[str, Upload] = {}

    def is_chunk(self, call: Call) -> bool:
        """A chunk is authorised by its address: Python's SDK sends no key with it."""
        return call.path.upload and call.query.get("upload_id") in self._uploads

    def answer(self, call: Call) -> Answer:
        if call.path.upload:
            return self._chunk(call) if "upload_id" in call.query else self._start(call)
        name = "/".join(call.path.segments)
        match call.method, len(call.path.segments):
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

    def _start(self, call: Call) -> Answer:
        command = call.headers.get("X-Goog-Upload-Command", "")
        mime_type = call.headers.get("X-Goog-Upload-Header-Content-Type", "application/octet-stream")
        if call.headers.get("X-Goog-Upload-Protocol") != "resumable" or command != "start":
            raise invalid_argument("The simulator takes resumable uploads only: start, then upload and finalize.")
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
            upload.received_bytes += len(call.body)
            upload.digest.update(call.body)
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
        self._storage.files[name] = Resource(upload.owner, document)
        return unary({"file": document})


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
