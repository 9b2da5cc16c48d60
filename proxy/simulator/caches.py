"""Cached contents: create, list, get, patch and delete, each account its own.

A cache is remembered by its token count, which a later generateContent reports as cachedContentTokenCount.
Refuses a cache of another account and a model it does not know.
"""

import re
import secrets
from datetime import UTC, datetime, timedelta

from proxy.simulator.answer import Answer, unary
from proxy.simulator.asked import Generation
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument, unknown_method, unknown_model
from proxy.simulator.models import Models
from proxy.simulator.storage import Resource, Storage, owned_by
from proxy.simulator.usage import count_prompt


def caches(call: Call, models: Models, storage: Storage) -> Answer:
    segments = call.path.tail
    project = call.path.segments[: -len(segments)]
    name = "/".join((*project, *segments))
    match call.method, len(segments):
        case "POST", 1:
            return _create(call, models, storage, name)
        case "GET", 1:
            return unary({"cachedContents": owned_by(storage.caches, call.account)})
        case "GET", 2:
            return unary(storage.cache(call.account, name).document)
        case "PATCH", 2:
            cache = storage.cache(call.account, name)
            document = cache.document | _times(call.read(Generation).ttl)
            storage.caches[name] = Resource(cache.owner, document, cache.tokens)
            return unary(document)
        case "DELETE", 2:
            storage.cache(call.account, name)
            del storage.caches[name]
            return unary({})
        case _:
            raise unknown_method()


def _create(call: Call, models: Models, storage: Storage, folder: str) -> Answer:
    asked = call.read(Generation)
    model_name = asked.model.rpartition("/")[2]
    model = models.find(model_name)
    if model is None:
        raise unknown_model(model_name, call.path.version, "createCachedContent")
    tokens = count_prompt(asked, model).total
    name = f"{folder}/{secrets.token_hex(8)}"
    usage = {"totalTokenCount": tokens}
    document = {"name": name, "model": asked.model, "usageMetadata": usage} | _times(asked.ttl)
    storage.caches[name] = Resource(call.account, document, tokens)
    return unary(document, usage=usage)


def _times(ttl: str) -> dict[str, str]:
    if not re.fullmatch(r"\d{1,9}(\.\d+)?s", ttl):
        raise invalid_argument(f"Invalid value at 'cached_content.ttl': \"{ttl}\"")
    now = datetime.now(UTC)
    ttl_seconds = float(ttl[:-1])
    stamps = {"createTime": now, "updateTime": now, "expireTime": now + timedelta(seconds=ttl_seconds)}
    return {name: moment.isoformat().replace("+00:00", "Z") for name, moment in stamps.items()}
