"""Manifests of a registry as raw bytes: their digest is of the bytes, so they are never written anew."""

import threading

from accel.errors import DigestMismatch, FormatError, NotFoundError, RegistryError, UnsupportedError
from accel.oci import MANIFEST_ACCEPT, Descriptor, check_digest, check_tag, hasher_for, parse_manifest
from accel.registry.challenge import Scope
from accel.registry.client import Repository
from accel.registry.response import Response
from accel.registry.transport import Body


class Manifests:
    """The manifests of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._linked: set[str] = set()

    def get(self, ref: str) -> tuple[Descriptor, bytes]:
        """Descriptor and verified bytes of what ``ref`` (tag or digest) names.

        Raises NotFoundError, DigestMismatch, and what :func:`accel.oci.parse_manifest` raises for what is no manifest.
        """
        path = _path(ref)
        name = f"{self._repository.label}: manifest {ref}"
        response, raw = self._repository.document(
            path, what=f"manifest {ref}", headers={"Accept": MANIFEST_ACCEPT}
        )
        claimed = ref if ":" in ref else _claimed_digest(response)
        if claimed is not None:
            _check(raw, claimed, name)
        if response.media_type == "text/html":
            raise RegistryError(
                f"{response.what}: the registry answers with a web page", status=response.status
            )
        try:
            parsed = parse_manifest(raw, response.media_type, max_bytes=len(raw))
        except FormatError as error:
            raise FormatError(error.what, blob=name) from error
        except UnsupportedError as error:
            raise UnsupportedError(f"{name}: {error}") from error
        digest = ref if ":" in ref else parsed.digest
        return Descriptor(parsed.media_type, digest, len(raw)), raw

    def has(self, ref: str) -> bool:
        """Whether there is a manifest called ``ref``."""
        return self._repository.exists(_path(ref), f"manifest {ref}", accept=MANIFEST_ACCEPT) is not None

    def digest_of(self, ref: str) -> str | None:
        """The digest of what ``ref`` names now, without its bytes if the registry says it; None: nothing."""
        response = self._repository.exists(_path(ref), f"manifest {ref}", accept=MANIFEST_ACCEPT)
        if response is None:
            return None
        try:
            return _claimed_digest(response) or self.get(ref)[0].digest
        except NotFoundError:  # gone between the two questions
            return None

    def put(self, raw: bytes, media_type: str, tag: str | None) -> Descriptor:
        """Store ``raw`` by its digest, or under ``tag``. MissingBlobsError names blobs that must be uploaded first."""
        descriptor = Descriptor.of(raw, media_type)
        response = self._repository.send(
            "PUT",
            _path(tag or descriptor.digest),
            what=f"manifest {tag or descriptor.digest}",
            ok=(200, 201, 202),
            push=True,
            headers={"Content-Type": media_type},
            body=Body.of(raw),
        )
        response.discard()
        stored = _claimed_digest(response)
        if stored is not None and stored.startswith("sha256:") and stored != descriptor.digest:
            raise RegistryError(f"{response.what}: stored as {stored[:80]}, not as {descriptor.digest}")
        if response.headers.get("OCI-Subject"):
            with self._lock:
                self._linked.add(descriptor.digest)
        return descriptor

    def delete(self, digest: str) -> None:
        """Remove a manifest by its digest (distribution-spec «Deleting manifests»)."""
        self._repository.send(
            "DELETE",
            f"manifests/{check_digest(digest)}",
            what=f"deletion of manifest {digest}",
            ok=(200, 202, 204),
            push=True,
            more=(Scope.repository(self._repository.name, "delete"),),
        ).discard()

    def delete_tag(self, tag: str) -> bool:
        """Remove a tag and nothing else; False if the registry cannot (distribution 2 takes digests only)."""
        try:
            self._repository.send(
                "DELETE",
                f"manifests/{check_tag(tag)}",
                what=f"deletion of tag {tag}",
                ok=(200, 202, 204),
                push=True,
                more=(Scope.repository(self._repository.name, "delete"),),
            ).discard()
        except NotFoundError:
            return self.digest_of(tag) is None
        except RegistryError as error:
            if error.status not in (400, 405):
                raise
            return False
        return True

    def is_linked(self, digest: str) -> bool:
        """Whether the registry said, when this manifest was put, that it has noted its ``subject``."""
        return digest in self._linked


def _path(ref: str) -> str:
    return f"manifests/{check_digest(ref) if ':' in ref else check_tag(ref)}"


def _claimed_digest(response: Response) -> str | None:
    """``Docker-Content-Digest`` if it is a digest that can be computed."""
    try:
        return check_digest(response.headers.get("Docker-Content-Digest", ""))
    except (FormatError, UnsupportedError):
        return None


def _check(raw: bytes, digest: str, name: str) -> None:
    hasher = hasher_for(digest)
    hasher.update(raw)
    got = f"{hasher.name}:{hasher.hexdigest()}"
    if got != digest:
        raise DigestMismatch(digest, got, n_bytes=len(raw), blob=name)
