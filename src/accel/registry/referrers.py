"""Manifests whose ``subject`` is another one (distribution-spec «Listing referrers», «referrers tag schema»).

A registry either keeps the list itself (the referrers API), or its clients keep it in an index under the tag
``sha256-<hex>`` of the same repository. Which of both is found out by asking.
"""

import logging
from typing import Any
from urllib.parse import quote

from accel.errors import FormatError, NotFoundError, RegistryError
from accel.oci import (
    Descriptor,
    Index,
    Manifest,
    MediaType,
    canonical_json,
    check_digest,
    parse_manifest,
    split_digest,
)
from accel.registry.client import Repository
from accel.registry.errors import TransientError
from accel.registry.manifests import Manifests
from accel.registry.paging import pages

_LOG = logging.getLogger(__name__)
# What registries without the API say to its path: not found, or not even that (a login page, a complaint).
_NO_API = (301, 302, 303, 307, 308, 400, 404, 405, 406, 501)
_MAX_WRITES = 5


def fallback_tag(digest: str) -> str:
    """The tag under which clients keep the referrers of ``digest``: algorithm and hex cut to 32 and 64 characters."""
    algorithm, encoded = split_digest(digest)
    return f"{algorithm[:32]}-{encoded[:64]}"


class Referrers:
    """The referrers of one repository."""

    def __init__(self, repository: Repository, manifests: Manifests) -> None:
        self._repository = repository
        self._manifests = manifests
        self._has_api: bool | None = None

    def find(self, digest: str, artifact_type: str | None) -> list[Descriptor]:
        """Descriptors of the referrers of ``digest``, each once."""
        found = self._from_api(digest, artifact_type)
        if found is None:
            index = self._fallback_index(digest)
            found = list(index.manifests) if index else []
        unique = {d.digest: d for d in found}
        return [d for d in unique.values() if artifact_type is None or d.artifact_type == artifact_type]

    def add(self, subject: Descriptor, referrer: Descriptor) -> None:
        """Make ``referrer``, a manifest already put, findable, unless the registry does it itself.

        Other writers of the same index may overwrite ours, so it is read again after writing. TransientError if that
        keeps happening.
        """
        if self._manifests.is_linked(referrer.digest) or self._from_api(subject.digest, None) is not None:
            return
        entry = self._described(referrer)
        tag = fallback_tag(subject.digest)
        with self._repository.client.lock((self._repository.name, tag)):
            for _ in range(_MAX_WRITES):
                index = self._fallback_index(subject.digest)
                if index is not None and any(d.digest == entry.digest for d in index.manifests):
                    return
                self._manifests.put(canonical_json(_with_entry(index, entry)), MediaType.OCI_INDEX, tag)
            index = self._fallback_index(subject.digest)
        if index is None or all(d.digest != entry.digest for d in index.manifests):
            raise TransientError(
                f"{self._repository.label}: {tag} is overwritten by others; {entry.digest} is not in it"
            )

    def _from_api(self, digest: str, artifact_type: str | None) -> list[Descriptor] | None:
        """What the referrers API answers; None if there is no such API."""
        if self._has_api is False:
            return None
        what = f"referrers of {digest}"
        query = f"?artifactType={quote(artifact_type)}" if artifact_type else ""
        response, raw = self._repository.document(
            f"referrers/{check_digest(digest)}{query}", what=what, ok=(200, *_NO_API), follow=False
        )
        if response.status != 200 or response.media_type != MediaType.OCI_INDEX:
            _LOG.info("%s: no referrers API (status %d)", self._repository.label, response.status)
            self._has_api = False
            return None
        found: list[Descriptor] = []
        for page, body in pages(self._repository, response, raw, what):
            try:
                found += Index.parse(body, page.media_type, max_bytes=len(body)).manifests
            except FormatError as error:
                raise RegistryError(f"{page.what}: {error.what}") from error
        self._has_api = True
        return found

    def _fallback_index(self, digest: str) -> Index | None:
        """The index that clients keep, None if there is none yet. RegistryError if the tag is something else."""
        tag = fallback_tag(digest)
        try:
            _, raw = self._manifests.get(tag)
        except NotFoundError:
            return None
        parsed = parse_manifest(raw)
        if not isinstance(parsed, Index):
            raise RegistryError(
                f"{self._repository.label}: the tag {tag} is an image, not a list of referrers"
            )
        return parsed

    def _described(self, referrer: Descriptor) -> Descriptor:
        """``referrer`` with the artifact type and annotations that its manifest has."""
        _, raw = self._manifests.get(referrer.digest)
        parsed = parse_manifest(raw)
        artifact_type = parsed.artifact_type
        if not artifact_type and isinstance(parsed, Manifest):
            artifact_type = parsed.config.media_type
        return Descriptor(
            parsed.media_type,
            referrer.digest,
            len(raw),
            annotations=parsed.annotations,
            artifact_type=artifact_type,
        )


def _with_entry(index: Index | None, entry: Descriptor) -> dict[str, Any]:
    """The JSON of ``index``, everything in it kept, with one more entry."""
    data: dict[str, Any] = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX}
    if index is not None:
        data |= index.data
    data["manifests"] = [*(data.get("manifests") or ()), entry.to_json()]
    return data
