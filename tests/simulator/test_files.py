import base64
import hashlib
import time

import jwt
import pytest

from tests.simulator.calling import ASK, GENERATE, Caller, Reply

START = {
    "X_Goog_Upload_Protocol": "resumable",
    "X_Goog_Upload_Command": "start",
    "X_Goog_Upload_Header_Content_Type": "image/png",
}


async def start(caller: Caller, key: str = "a", path: str = "/upload/v1beta/files") -> str:
    reply = await caller.post(path, {"file": {"display_name": "weir"}}, key=key, **START)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.headers["X-Goog-Upload-Status"] == "active"
    url = reply.headers["X-Goog-Upload-URL"]
    assert url.startswith(f"{caller.simulator.url}{path}?upload_id=")
    return url.removeprefix(caller.simulator.url)


async def chunk(caller: Caller, address: str, command: str, offset: int, body: bytes) -> Reply:
    headers = {"X_Goog_Upload_Command": command, "X_Goog_Upload_Offset": str(offset)}
    return await caller.send("POST", address, body, key=None, **headers)


async def upload(caller: Caller, key: str = "a") -> dict[str, str]:
    reply = await chunk(caller, await start(caller, key), "upload, finalize", 0, b"picture")
    file: dict[str, str] = reply.document["file"]
    return file


async def test_an_upload_in_chunks_without_a_credential(caller: Caller) -> None:
    address = await start(caller)
    middle = await chunk(caller, address, "upload", 0, b"123")
    last = await chunk(caller, address, "upload, finalize", 3, b"45")

    file = last.document["file"]
    digest = hashlib.sha256(b"12345").hexdigest()
    assert (middle.headers["X-Goog-Upload-Status"], last.headers["X-Goog-Upload-Status"]) == ("active", "final")
    assert (file["sizeBytes"], file["mimeType"], file["displayName"]) == ("5", "image/png", "weir")
    assert base64.b64decode(file["sha256Hash"]).decode() == digest
    assert file["uri"] == "https://generativelanguage.googleapis.com/v1beta/" + file["name"]


async def test_a_wrong_offset_is_refused(caller: Caller) -> None:
    reply = await chunk(caller, await start(caller), "upload", 7, b"1")

    assert reply.status == 400
    assert "X-Goog-Upload-Status" not in reply.headers


async def test_an_upload_address_is_good_once(caller: Caller) -> None:
    address = await start(caller)
    first = await chunk(caller, address, "upload, finalize", 0, b"1")
    second = await chunk(caller, address, "upload, finalize", 0, b"1")

    assert (first.status, second.status) == (200, 403)


MULTIPART = (
    b"--cut\r\nContent-Type: application/json\r\n\r\n"
    b'{"file": {"displayName": "weir"}}\r\n'
    b"--cut\r\nContent-Type: image/png\r\n\r\n\x00\r\npicture\r\n--cut--\r\n"
)


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/upload/v1beta/files", {"Content_Type": "image/png"}, b"\x00\r\npicture"),
        ("/upload/v1beta/files?uploadType=media", {"Content_Type": "image/png"}, b"\x00\r\npicture"),
        (
            "/upload/v1beta/files",
            {"X_Goog_Upload_Protocol": "raw", "X_Goog_Upload_Header_Content_Type": "image/png"},
            b"\x00\r\npicture",
        ),
        ("/upload/v1beta/files?uploadType=multipart", {"Content_Type": "multipart/related; boundary=cut"}, MULTIPART),
        (
            "/upload/v1beta/files",
            {"X_Goog_Upload_Protocol": "multipart", "Content_Type": 'multipart/related; boundary="cut"'},
            MULTIPART,
        ),
    ],
)
async def test_an_upload_in_one_request_and_its_download(
    caller: Caller, path: str, headers: dict[str, str], body: bytes
) -> None:
    reply = await caller.send("POST", path, body, key="a", **headers)
    file = reply.document["file"]
    got = await caller.get(f"/v1beta/{file['name']}:download?alt=media", key="a")
    other = await caller.get(f"/v1beta/{file['name']}:download?alt=media", key="b")

    assert (file["sizeBytes"], file["mimeType"]) == ("10", "image/png")
    assert file["displayName"] == ("weir" if body is MULTIPART else "")
    assert (got.status, got.headers["Content-Type"], got.body) == (200, "image/png", b"\x00\r\npicture")
    assert other.status == 403


@pytest.mark.parametrize(
    "headers",
    [{"X_Goog_Upload_Protocol": "resumable"}, {"X_Goog_Upload_Protocol": "multipart"}, {"X_Goog_Upload_Protocol": "?"}],
)
async def test_an_upload_that_begins_like_none_is_refused(caller: Caller, headers: dict[str, str]) -> None:
    reply = await caller.send("POST", "/upload/v1beta/files", b"{}", key="a", **headers)

    assert reply.status == 400


async def test_a_file_is_its_owners_alone(caller: Caller) -> None:
    file = await upload(caller, key="a")
    name = file["name"]
    used = {"contents": [{"parts": [{"fileData": {"fileUri": file["uri"], "mimeType": "image/png"}}]}]}

    assert (await caller.get(f"/v1beta/{name}", key="a")).document == file
    assert (await caller.get("/v1beta/files", key="a")).document == {"files": [file]}
    assert (await caller.get("/v1beta/files", key="b")).document == {"files": []}
    assert (await caller.post(GENERATE, used, key="a")).status == 200
    for other in (
        await caller.get(f"/v1beta/{name}", key="b"),
        await caller.send("DELETE", f"/v1beta/{name}", None, key="b"),
        await caller.post(GENERATE, used, key="b"),
    ):
        assert other.status == 403
        assert other.document["error"]["message"].startswith("You do not have permission to access the File")
    assert (await caller.send("DELETE", f"/v1beta/{name}", None, key="a")).document == {}
    assert (await caller.get(f"/v1beta/{name}", key="a")).status == 403


@pytest.mark.parametrize("folder", ["/v1beta/cachedContents", "/v1/projects/p/locations/l/cachedContents"])
async def test_a_cache_counts_and_is_its_owners_alone(caller: Caller, folder: str) -> None:
    body = {"model": "models/gemini-2.5-flash", "ttl": "60s", "contents": [{"parts": [{"text": "x" * 400}]}]}
    made = await caller.send("POST", folder, body, key=None, Authorization="Bearer a")
    name = made.document["name"]
    version = folder.split("/")[1]
    used = await caller.post(GENERATE, ASK | {"cachedContent": name}, key="a")
    other = await caller.post(GENERATE, ASK | {"cachedContent": name}, key="b")

    assert made.document["usageMetadata"] == {"totalTokenCount": 100}
    assert used.document["usageMetadata"]["cachedContentTokenCount"] == 100
    assert used.document["usageMetadata"]["promptTokenCount"] == 104
    assert other.status == 403
    address = f"/{version}/{name}"
    calls = [("PATCH", {"ttl": "5s"}), ("PATCH", {"ttl": "soon"}), ("DELETE", None), ("GET", None)]
    replies = [await caller.send(method, address, body, key=None, Authorization="Bearer a") for method, body in calls]
    assert [reply.status for reply in replies] == [200, 400, 200, 403]


def assertion(expires_in: float) -> str:
    claims = {"iss": "robot@p.iam.example", "exp": time.time() + expires_in}
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


async def test_a_token_stands_for_its_service_account(caller: Caller) -> None:
    grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
    given = await caller.send("POST", "/token", (grant + assertion(60)).encode(), key=None)
    late = await caller.send("POST", "/token", (grant + assertion(-60)).encode(), key=None)
    token = f"Bearer {given.document['access_token']}"
    caller.simulator.accounts.keys.add("configured")
    used = await caller.post(GENERATE, key=None, Authorization=token)
    account = (await caller.last()).key
    caller.simulator.accounts.expire_tokens()
    expired = await caller.post(GENERATE, key=None, Authorization=token)

    assert (given.document["expires_in"], given.document["token_type"]) == (3599, "Bearer")
    assert late.status == 400
    assert (used.status, account) == (200, "robot@p.iam.example")
    assert expired.status == 401
