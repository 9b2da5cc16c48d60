"""Every family of Gemini fact 1, one row each: what a person would look for, and what must stay unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import Operation
from proxy.gemini.paths import bare_model, parse_operation
from proxy.operation import UNKNOWN

VERTEX = "/v1beta1/projects/acme/locations/europe-west4"
FLASH = "gemini-2.5-flash"


def run(name: str, model: str | None = FLASH, **more: object) -> Operation:
    return Operation(**{"name": name, "api": "gemini", "model": model, "generates": True} | more)  # type: ignore[arg-type]


def owned(name: str, model: str | None = None, **more: object) -> Operation:
    return Operation(**{"name": name, "api": "gemini", "model": model, "account_bound": True} | more)  # type: ignore[arg-type]


def chat(name: str = "chat.completions") -> Operation:
    return Operation(name, api="openai", model_in_body=True, generates=True)


LIVE = Operation("live", api="live", model_in_body=True, generates=True)

TABLE = [
    # models: unary, streamed, counted, embedded, batched
    ("POST", f"/v1beta/models/{FLASH}:generateContent", run("generateContent")),
    ("POST", f"/v1/models/{FLASH}:generateContent?key=abc", run("generateContent")),
    ("POST", f"/v1alpha/models/{FLASH}%3AgenerateContent", run("generateContent")),
    ("POST", f"//v1beta/models/{FLASH}:generateContent", run("generateContent")),
    ("GET", f"/v1beta/models/{FLASH}:generateContent", run("generateContent")),
    ("POST", f"/v1beta/models/{FLASH}:streamGenerateContent?alt=sse", run("streamGenerateContent", streams=True)),
    ("POST", "/v1beta/tunedModels/x:generateContent", run("generateContent", "tunedModels/x", account_bound=True)),
    ("POST", "/v1/dynamic/x:generateContent", run("generateContent", "dynamic/x")),
    ("POST", f"/v1beta/models/{FLASH}:countTokens", run("countTokens", generates=False)),
    ("POST", "/v1beta/models/e-001:embedContent", run("embedContent", "e-001")),
    ("POST", "/v1beta/models/e-001:batchEmbedContents", run("batchEmbedContents", "e-001")),
    ("POST", f"/v1beta/models/{FLASH}:batchGenerateContent", run("batchGenerateContent", account_bound=True)),
    (
        "POST",
        "/v1beta/models/e-001:asyncBatchEmbedContent",
        run("asyncBatchEmbedContent", "e-001", account_bound=True),
    ),
    ("POST", "/v1beta/models/imagen-4.0-generate-001:predict", run("predict", "imagen-4.0-generate-001")),
    ("POST", "/v1beta/models/veo-3:predictLongRunning", run("predictLongRunning", "veo-3", account_bound=True)),
    ("POST", f"/v1beta/models/{FLASH}:verbOfTomorrow", run("unknown")),
    ("POST", "/v1beta/models/text-bison-001:generateText", run("generateText", "text-bison-001")),
    ("POST", "/v1beta/models/chat-bison-001:generateMessage", run("generateMessage", "chat-bison-001")),
    ("POST", "/v1beta/models/aqa:generateAnswer", run("generateAnswer", "aqa")),
    ("POST", "/v1beta/models/g:embedText", run("embedText", "g")),
    ("POST", "/v1beta/models/g:countMessageTokens", run("countMessageTokens", "g", generates=False)),
    ("GET", "/v1beta/models?pageSize=5", Operation("models.list", api="gemini")),
    ("GET", f"/v1beta/models/{FLASH}", Operation("models.get", api="gemini", model=FLASH)),
    # tuned models, operations, batches
    ("GET", "/v1beta/tunedModels", owned("tunedModels.list")),
    ("POST", "/v1beta/tunedModels", owned("tunedModels.create", generates=True)),
    ("PATCH", "/v1beta/tunedModels/x", owned("tunedModels.patch", "tunedModels/x")),
    ("POST", "/v1beta/tunedModels/x:transferOwnership", owned("tunedModels.transferOwnership", "tunedModels/x")),
    ("GET", "/v1beta/tunedModels/x/permissions", owned("permissions.list", "tunedModels/x")),
    ("GET", "/v1beta/models/veo-3/operations/abc", owned("operations.get", "veo-3", account_bound=True)),
    ("GET", "/v1beta/tunedModels/x/operations/abc", owned("operations.get", "tunedModels/x")),
    ("POST", "/v1beta/corpora/c/operations/o:cancel", owned("operations.cancel")),
    ("GET", "/v1beta/generatedFiles/g/operations/o", owned("operations.get")),
    ("GET", "/v1beta/batches", owned("batches.list")),
    ("GET", "/v1beta/batches/b1", owned("batches.get")),
    ("POST", "/v1beta/batches/b1:cancel", owned("batches.cancel")),
    ("DELETE", "/v1beta/batches/b1", owned("batches.delete")),
    ("POST", "/v1beta/batches", owned("batches.create", generates=True)),
    *(
        ("PATCH", f"/v1beta/batches/b1:{verb}", owned(f"batches.{verb}", generates=True))
        for verb in ("updateGenerateContentBatch", "updateEmbedContentBatch")
    ),
    # caches, files, uploads and downloads
    ("POST", "/v1beta/cachedContents", owned("cachedContents.create", model_in_body=True)),
    ("GET", "/v1beta/cachedContents", owned("cachedContents.list")),
    ("GET", "/v1beta/cachedContents/c", owned("cachedContents.get")),
    ("PATCH", "/v1beta/cachedContents/c?updateMask=ttl", owned("cachedContents.patch")),
    ("DELETE", "/v1beta/cachedContents/c", owned("cachedContents.delete")),
    ("POST", "/v1beta/files", owned("files.create")),
    ("GET", "/v1beta/files", owned("files.list")),
    ("GET", "/v1beta/files/f", owned("files.get")),
    ("DELETE", "/v1beta/files/f", owned("files.delete")),
    ("POST", "/v1beta/files:register", owned("files.register")),
    ("GET", "/v1beta/files/f:download?alt=media", owned("files.download")),
    ("GET", "/download/v1beta/files/f:download?alt=media", owned("files.download")),
    ("POST", "/upload/v1beta/files", owned("files.upload")),
    ("POST", "/upload/v1beta/files?upload_id=u&upload_protocol=resumable", owned("files.upload")),
    ("PUT", "/resumable/upload/v1beta/files?upload_id=u", owned("files.upload")),
    ("POST", "/upload/v1beta/environments/e/files/a/b/c.txt", owned("files.upload")),
    ("GET", "/v1beta/environments/e/files/a/b/c:d.txt", owned("files.get")),
    # file search, tokens, agents, corpora
    ("POST", "/v1beta/fileSearchStores", owned("fileSearchStores.create")),
    ("DELETE", "/v1beta/fileSearchStores/s?force=true", owned("fileSearchStores.delete")),
    ("POST", "/v1beta/fileSearchStores/s:importFile", owned("fileSearchStores.importFile")),
    ("GET", "/v1beta/fileSearchStores/s/documents/d", owned("documents.get")),
    ("GET", "/v1beta/fileSearchStores/s/media/blob?alt=media", owned("media.get")),
    (
        "POST",
        "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
        owned("fileSearchStores.uploadToFileSearchStore"),
    ),
    ("POST", "/v1alpha/auth_tokens", owned("auth_tokens.create")),
    *(
        ("GET", f"/v1/{resource}", owned(f"{resource}.list"))
        for resource in ("agents", "environments", "triggers", "webhooks", "voices", "credentials", "decisions")
    ),
    ("POST", "/v1/agents", owned("agents.create", generates=True)),
    ("POST", "/v1/triggers", owned("triggers.create", generates=True)),
    ("PATCH", "/v1/triggers/t", owned("triggers.patch", generates=True)),
    ("POST", "/v1beta/corpora/c:query", owned("corpora.query")),
    ("POST", "/v1beta/corpora/c/documents/d/chunks:batchCreate", owned("chunks.batchCreate")),
    ("PATCH", "/v1beta/corpora/c/documents/d/chunks/k", owned("chunks.patch")),
    # interactions
    ("POST", "/v1/interactions", run("interactions.create", None, api="interactions", model_in_body=True)),
    ("GET", "/v1/interactions/i?stream=true", owned("interactions.get", api="interactions")),
    ("POST", "/v1/interactions/i/cancel", owned("interactions.cancel", api="interactions")),
    ("DELETE", "/v1/interactions/i", owned("interactions.delete", api="interactions")),
    (
        "POST",
        f"{VERTEX}/interactions",
        run("interactions.create", None, api="interactions", model_in_body=True),
    ),
    (
        "POST",
        f"{VERTEX}/interactions:createStream",
        run("interactions.createStream", None, api="interactions", model_in_body=True, streams=True),
    ),
    ("GET", "/v1/interactions/i:poll", owned("interactions.poll", api="interactions")),
    # the OpenAI-compatible surface
    ("POST", "/v1beta/openai/chat/completions", chat()),
    ("POST", "/v1beta:chatCompletions", chat()),
    ("POST", "/v1beta/openai/embeddings", chat("embeddings")),
    ("POST", "/v1beta/openai/images/generations", chat("images.generations")),
    ("GET", "/v1beta/openai/models", Operation("models.list", api="openai")),
    ("GET", f"/v1beta/openai/models/{FLASH}", Operation("models.get", api="openai", model=FLASH)),
    ("GET", "/v1beta/openai/files/f/content", Operation("files.content", api="openai", account_bound=True)),
    (
        "POST",
        "/v1beta/openai/batches",
        Operation("batches.create", api="openai", account_bound=True, generates=True),
    ),
    ("GET", "/v1beta/openai/batches", Operation("batches.list", api="openai", account_bound=True)),
    ("POST", f"{VERTEX}/endpoints/openapi/chat/completions", chat()),
    (
        "POST",
        f"{VERTEX}/endpoints/123/chat/completions",
        Operation("chat.completions", api="openai", model="endpoints/123", generates=True, account_bound=True),
    ),
    # Vertex
    ("POST", f"{VERTEX}/publishers/google/models/{FLASH}:generateContent", run("generateContent", api="vertex")),
    ("POST", f"/v1beta1/publishers/google/models/{FLASH}:generateContent", run("generateContent", api="vertex")),
    (
        "POST",
        f"{VERTEX}/publishers/google/models/{FLASH}:streamGenerateContent?alt=sse",
        run("streamGenerateContent", api="vertex", streams=True),
    ),
    (
        "POST",
        f"{VERTEX}/publishers/anthropic/models/claude-x@20250101:streamRawPredict",
        run("streamRawPredict", "claude-x@20250101", api="vertex", streams=True),
    ),
    (
        "POST",
        f"{VERTEX}/publishers/google/models/{FLASH}:serverStreamingPredict",
        run("serverStreamingPredict", api="vertex", streams=True),
    ),
    (
        "POST",
        f"{VERTEX}/publishers/google/models/{FLASH}:computeTokens",
        run("computeTokens", api="vertex", generates=False),
    ),
    (
        "POST",
        f"{VERTEX}/publishers/google/models/veo-3:fetchPredictOperation",
        run("fetchPredictOperation", "veo-3", api="vertex", generates=False, account_bound=True),
    ),
    ("POST", f"{VERTEX}/publishers/meta/models/llama/invoke/v1/chat:x", run("invoke", "llama", api="vertex")),
    (
        "POST",
        f"{VERTEX}/endpoints/123:generateContent",
        run("generateContent", "endpoints/123", api="vertex", account_bound=True),
    ),
    (
        "POST",
        "/v1/endpoints/123:generateContent",
        run("generateContent", "endpoints/123", api="vertex", account_bound=True),
    ),
    ("GET", "/v1beta1/publishers/google/models", Operation("models.list", api="vertex")),
    ("GET", f"/v1beta1/publishers/google/models/{FLASH}", Operation("models.get", api="vertex", model=FLASH)),
    ("POST", f"{VERTEX}/cachedContents", owned("cachedContents.create", api="vertex", model_in_body=True)),
    (
        "POST",
        f"{VERTEX}/batchPredictionJobs",
        owned("batchPredictionJobs.create", api="vertex", model_in_body=True, generates=True),
    ),
    ("POST", f"{VERTEX}/batchPredictionJobs/j:cancel", owned("batchPredictionJobs.cancel", api="vertex")),
    ("GET", f"{VERTEX}/tuningJobs", owned("tuningJobs.list", api="vertex")),
    ("POST", f"{VERTEX}/tuningJobs", owned("tuningJobs.create", api="vertex", generates=True)),
    (
        "POST",
        f"{VERTEX}/tuningJobs:rebaseTunedModel",
        owned("tuningJobs.rebaseTunedModel", api="vertex", generates=True),
    ),
    ("POST", f"/upload{VERTEX}/publishers/anthropic/files", owned("files.upload", api="vertex")),
    # Live
    ("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k", LIVE),
    ("GET", "//ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained", LIVE),
    ("GET", "//ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", LIVE),
    (
        "GET",
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic",
        Operation("live.music", api="live", model_in_body=True, generates=True),
    ),
]


@pytest.mark.parametrize(("method", "target", "operation"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_every_family_has_a_name(method: str, target: str, operation: Operation) -> None:
    found = parse_operation(method, target)
    names = ("name", "api", "model", "model_in_body", "streams", "generates", "account_bound")
    assert [getattr(found, name) for name in names] == [getattr(operation, name) for name in names]
    on_vertex = target.startswith((VERTEX, f"/upload{VERTEX}"))
    assert found.location == ("europe-west4" if on_vertex else None)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "/",
        "//",
        "/healthz",
        "/v1beta",
        "/v1beta/",
        "v1beta/models/m:generateContent",
        "http://elsewhere/v1beta/models/m:generateContent",
        "/gemini/v1beta/models/m:generateContent",  # a prefix would go upstream, where it means nothing
        "///v1beta/models/m:generateContent",
        "/v1beta//models/m:generateContent",
        "/v1beta/models/m:generateContent/",
        "/v1beta/models/./m:generateContent",
        "/v1beta/files/../models/m:generateContent",
        "/v1beta/files/%2e%2e/models/m:generateContent",
        "/v1beta/models/%2F/m:generateContent",
        "/v1beta/models/m%zz:generateContent",
        "/v1beta/models/m%ff:generateContent",
        "/v1beta/models/m%0a:generateContent",
        "/v1beta/models\\m:generateContent",
        "/beta/models/m:generateContent",
        "/upload",
        "/upload/v1beta",
    ],
)
def test_what_has_no_anchor_or_a_broken_path_is_unknown(target: str) -> None:
    assert parse_operation("POST", target) == UNKNOWN


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1beta/models/:generateContent"),
        ("POST", "/v1beta/models:generateContent"),
        ("POST", "/v1beta/sprockets"),
        ("BREW", "/v1beta/files/f"),
        ("POST", "/v1beta/files/f:explode"),
        ("POST", "/v1beta/openai"),
        ("POST", "/v1beta/openai/sprockets"),
        ("POST", "/v1/projects/p"),
        ("POST", "/v1/projects/p/locations/l"),
        ("POST", "/v1/publishers/google"),
        ("GET", "/ws/google.ai.generativelanguage.v1beta.OtherService.Method"),
    ],
)
def test_half_known_paths_have_no_name(method: str, target: str) -> None:
    operation = parse_operation(method, target)
    assert (operation.name, operation.model, operation.generates) == ("unknown", None, False)


@pytest.mark.parametrize(
    "target",
    [
        "/v1beta/models/ok/models/secret:generateContent",
        "/v1beta/models/ok/tunedModels/secret:generateContent",
        "/v1beta/models/ok:generateContent/models/secret",
        "/v1beta/models/ok/sprockets",
        "/v1beta/models/ok/operations/o:generateContent",
        "/v1beta/models/ok/batches",
        f"{VERTEX}/publishers/google/models/ok/publishers/google/models/secret:generateContent",
    ],
)
def test_a_tail_that_is_not_understood_has_no_model_to_be_allowed(target: str) -> None:
    assert parse_operation("POST", target).model is None


@given(
    st.text(alphabet=st.sampled_from("/:%2.?aev1smodlu\\ \x00é"), max_size=40), st.sampled_from(["GET", "POST", "PUT"])
)
def test_never_raises(target: str, method: str) -> None:
    assert parse_operation(method, target).name


@given(st.sampled_from([row[1] for row in TABLE]), st.sampled_from("/:%.?"), st.integers(0, 80))
def test_never_raises_near_real_paths(target: str, noise: str, at: int) -> None:
    assert parse_operation("POST", target[:at] + noise + target[at:]).name


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google/gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/google/models/m", "m"),
        ("projects/p/locations/l/publishers/google/models/m", "m"),
        ("projects/p/locations/l/endpoints/7", "endpoints/7"),
        ("tunedModels/x", "tunedModels/x"),
        ("meta/llama-3", "meta/llama-3"),
    ],
)
def test_bare_model(name: str, bare: str) -> None:
    assert bare_model(name) == bare


@pytest.mark.parametrize(
    ("target", "by_body"),
    [
        (f"/v1beta/models/{FLASH}:generateContent", False),
        ("/v1beta/models/gemini-3-pro-image-preview:streamGenerateContent", True),
        ("/v1beta/models/gemini-nano-banana-2.1:generateContent", True),
        ("/v1beta/models/gemini-2.5-flash-image:batchGenerateContent", True),
        ("/v1beta/models/gemini-2.5-flash-image:countTokens", False),
        ("/v1beta/models/imagen-4:predict", True),
        ("/v1beta/models/veo-3:predictLongRunning", True),
        (f"{VERTEX}/publishers/google/models/veo-3:fetchPredictOperation", False),
        ("/v1beta/openai/chat/completions", True),
        (f"{VERTEX}/endpoints/openapi/chat/completions", True),
        (f"{VERTEX}/endpoints/123/chat/completions", False),
        ("/v1/interactions", True),
        ("/v1/interactions/i/cancel", False),
        ("/v1beta/files/f", False),
    ],
)
def test_whose_body_says_what_their_bill_needs(target: str, by_body: bool) -> None:
    assert parse_operation("POST", target).billed_by_body is by_body
