"""What accounts leave behind: files, caches, jobs and interactions, each seen by its owner alone.

`generate.py` asks whether a file or cache may be used; `files.py`, `caches.py`, `jobs.py` and `interactions.py` answer
the calls that make and read them. A pool of keys must send a resource back to the key that made it: here it is refused
otherwise. Of a large file only size and digest are kept, so that a long run does not fill the memory.
"""

from typing import Any

import msgspec

from proxy.simulator.errors import not_yours


class Resource(msgspec.Struct, frozen=True):
    """One of them: whose it is, what a GET answers, a small file's bytes, what a cache counts for."""

    owner: str | None
    document: dict[str, Any]
    tokens: int = 0
    content: bytes | None = None


class Storage:
    def __init__(self) -> None:
        self.files: dict[str, Resource] = {}
        self.caches: dict[str, Resource] = {}
        self.jobs: dict[str, Resource] = {}
        self.interactions: dict[str, Resource] = {}

    def file(self, account: str | None, name: str) -> Resource:
        return _owned(self.files, account, name, "File")

    def cache(self, account: str | None, name: str) -> Resource:
        return _owned(self.caches, account, name, "CachedContent")

    def job(self, account: str | None, name: str) -> Resource:
        return _owned(self.jobs, account, name, "Operation")

    def interaction(self, account: str | None, name: str) -> Resource:
        return _owned(self.interactions, account, name, "Interaction")

    def check_file(self, account: str | None, uri: str) -> None:
        """A `fileUri` that names a file of the Files API must be the caller's own; other addresses pass."""
        _, found, name = uri.rpartition("/files/")
        if found:
            self.file(account, f"files/{name}")

    def cached_tokens(self, account: str | None, name: object) -> int:
        return self.cache(account, str(name)).tokens if name else 0


def owned_by(resources: dict[str, Resource], account: str | None) -> list[dict[str, Any]]:
    return [resource.document for resource in resources.values() if resource.owner == account]


def _owned(resources: dict[str, Resource], account: str | None, name: str, kind: str) -> Resource:
    resource = resources.get(name)
    if resource is None or resource.owner != account:
        raise not_yours(kind, name.rpartition("/")[2])
    return resource
