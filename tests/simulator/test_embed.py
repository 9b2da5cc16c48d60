import pytest

from tests.simulator.calling import ASK, Caller

CONTENT = {"parts": [{"text": "How much water?"}]}


async def test_tokens_are_counted(caller: Caller) -> None:
    path = "/v1beta/models/gemini-2.5-flash:countTokens"
    plain = await caller.post(path)
    nested = await caller.post(path, {"generateContentRequest": ASK | {"systemInstruction": CONTENT}})

    assert plain.document == {"totalTokens": 4, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}]}
    assert nested.document["totalTokens"] == 8
    assert (await caller.last()).billed is None


async def test_vertex_counts_characters_too(caller: Caller) -> None:
    reply = await caller.post("/v1/publishers/google/models/gemini-2.5-flash:countTokens")

    assert (reply.document["totalTokens"], reply.document["totalBillableCharacters"]) == (4, 13)


async def test_an_embedding_reports_the_prompt_under_its_odd_name(caller: Caller) -> None:
    path = "/v1beta/models/gemini-embedding-2:embedContent"
    first = await caller.post(path, {"content": CONTENT, "outputDimensionality": 16})
    again = await caller.post(path, {"content": CONTENT, "output_dimensionality": 16})

    assert first.document == again.document
    assert sum(value**2 for value in first.document["embedding"]["values"]) == pytest.approx(1)
    assert first.document["usageMetadata"] == {
        "promptTokenCount": 4,
        "promptTokenDetails": [{"modality": "TEXT", "tokenCount": 4}],
    }


async def test_a_batch_embeds_each(caller: Caller) -> None:
    body = {"requests": [{"model": "models/gemini-embedding-2", "content": CONTENT}] * 3}
    reply = await caller.post("/v1beta/models/gemini-embedding-2:batchEmbedContents", body)

    assert len(reply.document["embeddings"]) == 3
    assert reply.document["usageMetadata"]["promptTokenCount"] == 12


async def test_the_old_embedding_model_reports_nothing(caller: Caller) -> None:
    reply = await caller.post("/v1beta/models/gemini-embedding-001:embedContent", {"content": CONTENT})

    assert set(reply.document) == {"embedding"}


async def test_vertex_embeds_with_standard_names(caller: Caller) -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/gemini-embedding-2:embedContent"
    reply = await caller.post(path, {"content": CONTENT}, key=None, Authorization="Bearer t")

    assert reply.document["truncated"] is False
    assert reply.document["usageMetadata"]["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": 4}]


@pytest.mark.parametrize(
    ("verb", "body"), [("embedContent", {}), ("batchEmbedContents", {}), ("embedContent", {"content": {"parts": 3}})]
)
async def test_nothing_to_embed_is_a_400(caller: Caller, verb: str, body: object) -> None:
    assert (await caller.post(f"/v1beta/models/gemini-embedding-2:{verb}", body)).status == 400


async def test_models_are_listed_and_got(caller: Caller) -> None:
    listed = await caller.get("/v1beta/models")
    one = await caller.get("/v1/models/gemini-3-pro-image")
    vertex = await caller.get("/v1beta1/publishers/google/models/gemini-3-pro-image")

    assert one.document in listed.document["models"]
    assert "streamGenerateContent" in one.document["supportedGenerationMethods"]
    assert vertex.document["name"] == "publishers/google/models/gemini-3-pro-image"
    assert (await caller.get("/v1/models/none")).status == 404
