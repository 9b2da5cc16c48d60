"""Batches and videos: begun by one call, read by another, by the account that began them."""

import json
from typing import Any

import pytest

from tests.simulator.calling import ASK, Caller

BATCH = "/v1beta/models/gemini-2.5-flash:batchGenerateContent"
VEO = "/v1beta/models/veo-3.1-generate-preview:predictLongRunning"


def inlined(*requests: Any) -> Any:
    return {"batch": {"inputConfig": {"requests": {"requests": [{"request": request} for request in requests]}}}}


async def test_an_inlined_batch(caller: Caller) -> None:
    begun = (await caller.post(BATCH, inlined(ASK, {"contents": []}, ASK))).document
    assert begun["metadata"]["state"] == "BATCH_STATE_PENDING"
    assert "done" not in begun
    waiting = (await caller.get(f"/v1beta/{begun['name']}", x_sim_pending="1")).document
    assert waiting == begun
    done = (await caller.get(f"/v1beta/{begun['name']}")).document
    assert done["done"] is True
    first, failed, third = done["response"]["inlinedResponses"]["inlinedResponses"]
    assert first["response"]["usageMetadata"] == third["response"]["usageMetadata"]
    assert failed["error"]["code"] == 400
    assert done["metadata"]["output"]["inlinedResponses"] == done["response"]["inlinedResponses"]


async def test_a_batch_from_a_file_gives_a_file(caller: Caller) -> None:
    lines = b"".join(json.dumps({"key": str(key), "request": ASK}).encode() + b"\n" for key in range(3))
    file = (await caller.post("/upload/v1beta/files?uploadType=media", lines)).document["file"]["name"]
    begun = (await caller.post(BATCH, {"batch": {"input_config": {"file_name": file}}})).document
    done = (await caller.get(f"/v1beta/{begun['name']}")).document
    results = await caller.get(f"/v1beta/{done['response']['responsesFile']}:download?alt=media")
    assert results.headers["Content-Type"] == "application/jsonl"
    found = [json.loads(line) for line in results.body.splitlines()]
    assert [line["key"] for line in found] == ["0", "1", "2"]
    assert all(line["response"]["usageMetadata"]["promptTokenCount"] == 4 for line in found)


async def test_videos(caller: Caller) -> None:
    begun = (await caller.post(VEO, {"instances": [{"prompt": "x"}], "parameters": {"sampleCount": 2}})).document
    assert (await caller.get(f"/v1beta/{begun['name']}", x_sim_pending="1")).document["metadata"] == {}
    done = (await caller.get(f"/v1beta/{begun['name']}")).document
    assert len(done["response"]["generateVideoResponse"]["generatedSamples"]) == 2


@pytest.mark.parametrize(("path", "body"), [(BATCH, inlined()), (VEO, {}), (BATCH, {"batch": {}})])
async def test_nothing_to_do_is_refused(caller: Caller, path: str, body: Any) -> None:
    assert (await caller.post(path, body)).status == 400


async def test_a_job_is_its_owner_s(caller: Caller) -> None:
    name = (await caller.post(BATCH, inlined(ASK), key="a")).document["name"]
    assert (await caller.get(f"/v1beta/{name}", key="b")).status == 403
    assert (await caller.get("/v1beta/batches/none", key="a")).status == 403
    assert (await caller.send("PATCH", f"/v1beta/{name}", None, key="a")).status == 404
