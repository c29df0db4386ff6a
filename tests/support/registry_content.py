"""What a small registry keeps and does, without HTTP: repositories, uploads, tags, referrers (distribution-spec 1.1).

Strict where real registries are: manifests need their blobs, uploads need the newest Location, digests are checked.
"""

import hashlib
import json
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

_HEX = {"sha256": 64, "sha512": 128}
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def is_digest(text: str) -> bool:
    algorithm, _, encoded = text.partition(":")
    return bool(re.fullmatch(r"[0-9a-f]+", encoded)) and len(encoded) == _HEX.get(algorithm, -1)


class Refused(Exception):
    """A refusal as the spec words it."""

    def __init__(
        self, status: int, code: str, detail: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}

    def body(self) -> bytes:
        error = {"code": self.code, "message": self.code.lower().replace("_", " "), "detail": self.detail}
        return json.dumps({"errors": [error]}).encode()


@dataclass
class StoredManifest:
    raw: bytes
    media_type: str


@dataclass
class Upload:
    data: bytearray = field(default_factory=bytearray)
    state: int = 0


@dataclass
class RepositoryContent:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, StoredManifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)


class Content:
    """All repositories. ``lock`` guards everything."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repositories: dict[str, RepositoryContent] = {}

    def repository(self, name: str) -> RepositoryContent:
        with self.lock:
            return self.repositories.setdefault(name, RepositoryContent())

    def put_blob(self, name: str, data: bytes, digest: str | None = None) -> str:
        digest = digest or digest_of(data)
        with self.lock:
            self.repository(name).blobs[digest] = data
        return digest

    def put_manifest(self, name: str, raw: bytes, media_type: str, ref: str, *, check: bool = True) -> str:
        """Store under a tag or digest; the digest comes back. Refuses what names blobs that are not there."""
        algorithm = ref.partition(":")[0] if ":" in ref else "sha256"
        if ":" in ref and not is_digest(ref) or ":" not in ref and not TAG.fullmatch(ref):
            raise Refused(400, "MANIFEST_INVALID")
        digest = digest_of(raw, algorithm)
        if ":" in ref and ref != digest:
            raise Refused(400, "DIGEST_INVALID")
        try:
            value = json.loads(raw)
        except ValueError:
            raise Refused(400, "MANIFEST_INVALID") from None
        with self.lock:
            repository = self.repository(name)
            if check:
                self._check_parts(repository, value)
            repository.manifests[digest] = StoredManifest(raw, media_type)
            if ":" not in ref:
                repository.tags[ref] = digest
        return digest

    @staticmethod
    def _check_parts(repository: RepositoryContent, value: dict[str, Any]) -> None:
        blobs = [d for d in [value.get("config"), *(value.get("layers") or [])] if d]
        for descriptor in blobs:
            if descriptor["digest"] not in repository.blobs and not descriptor.get("urls"):
                raise Refused(400, "MANIFEST_BLOB_UNKNOWN", {"digest": descriptor["digest"]})
        for descriptor in value.get("manifests") or []:
            if descriptor["digest"] not in repository.manifests and value.get("subject") is None:
                # an index of referrers (fallback tag) names manifests of the repository, so they are there, too
                raise Refused(400, "MANIFEST_UNKNOWN", {"digest": descriptor["digest"]})

    def manifest(self, name: str, ref: str) -> tuple[str, StoredManifest]:
        with self.lock:
            repository = self.repositories.get(name)
            if repository is None:
                raise Refused(404, "NAME_UNKNOWN")
            digest = repository.tags.get(ref, ref)
            if digest not in repository.manifests:
                raise Refused(404, "MANIFEST_UNKNOWN", {"Tag": ref})
            return digest, repository.manifests[digest]

    def referrers(self, name: str, subject: str) -> list[dict[str, Any]]:
        """Descriptors of all manifests whose subject is ``subject``."""
        found = []
        with self.lock:
            for digest, stored in self.repository(name).manifests.items():
                value = json.loads(stored.raw)
                if (value.get("subject") or {}).get("digest") != subject:
                    continue
                entry = {"mediaType": stored.media_type, "digest": digest, "size": len(stored.raw)}
                if kind := value.get("artifactType") or (value.get("config") or {}).get("mediaType"):
                    entry["artifactType"] = kind
                if value.get("annotations"):
                    entry["annotations"] = value["annotations"]
                found.append(entry)
        return found

    def begin(self, name: str) -> tuple[str, Upload]:
        """A new upload and its id."""
        with self.lock:
            key = secrets.token_hex(8)
            upload = self.repository(name).uploads[key] = Upload()
            return key, upload

    def upload(self, name: str, key: str, state: int | None) -> Upload:
        """An open upload. One asked for by an old state is thrown away, as distribution does; None: any will do."""
        with self.lock:
            uploads = self.repository(name).uploads
            if key not in uploads:
                raise Refused(404, "BLOB_UPLOAD_UNKNOWN")
            if state is not None and state != uploads[key].state:
                del uploads[key]
                raise Refused(404, "BLOB_UPLOAD_INVALID")
            return uploads[key]

    def finish(self, name: str, key: str, digest: str) -> None:
        """Turn an upload into a blob; the upload is gone either way."""
        with self.lock:
            upload = self.repository(name).uploads.pop(key)
            if not is_digest(digest) or digest_of(bytes(upload.data), digest.partition(":")[0]) != digest:
                raise Refused(400, "DIGEST_INVALID")
            self.put_blob(name, bytes(upload.data), digest)
