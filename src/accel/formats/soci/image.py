"""Images with SOCI indexes in them (version 2): annotated image manifests, and an OCI index that lists both.

The order matters: clients take the first entry of their platform, so a SOCI index comes behind its image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from accel.errors import UnsupportedError
from accel.formats.soci.index import SociIndex
from accel.formats.soci.names import Annotation, SociType
from accel.formats.soci.options import SociOptions
from accel.oci import (
    Descriptor,
    Index,
    Manifest,
    MediaType,
    Platform,
    canonical_json,
    parse_manifest,
    sorted_map,
    with_attested,
)
from accel.oci.fields import JsonObject


@dataclass(frozen=True, slots=True)
class IndexedManifest:
    """One image manifest of the source (by digest) and the SOCI index made for it.

    ``platform`` is what the descriptor of the SOCI index says where the source has none; in identical mode always
    (there it is the platform as asked for).
    """

    manifest_digest: str
    soci: SociIndex
    platform: Platform


@dataclass(frozen=True, slots=True)
class RewrittenImage:
    """What to push: image manifests (only those that changed), SOCI indexes, then the OCI index under the tag."""

    raw: bytes = field(repr=False)
    manifests: tuple[Manifest, ...]
    soci: tuple[SociIndex, ...]

    def descriptor(self) -> Descriptor:
        """Of the OCI index."""
        return Descriptor.of(self.raw, MediaType.OCI_INDEX)


def rewrite_image(
    source: Manifest | Index,
    indexed: Sequence[IndexedManifest],
    options: SociOptions,
    *,
    manifests: Mapping[str, bytes],
) -> RewrittenImage:
    """The accelerated image of ``source``.

    ``manifests`` are the raw bytes of the index's entries by digest. Compatible mode reads those that were indexed and
    leaves all other entries as they are, byte for byte; identical mode rewrites every entry it is given, as SOCI does.
    Converting the result again gives the same bytes, in compatible mode also for some of its platforms only.

    Raises ValueError if nothing was indexed or ``manifests`` lacks one that was; UnsupportedError for what SOCI itself
    fails on in identical mode.
    """
    if not indexed:
        raise ValueError("no manifest was indexed")
    if isinstance(source, Manifest):
        manifests = {**manifests, source.digest: source.raw}
        entry = replace(source.descriptor(), platform=indexed[0].platform)
        data: JsonObject = {"manifests": [entry.to_json()]}
    else:
        data = source.to_json() if options.identical else dict(source.data)
    known = {item["digest"] for item in data["manifests"]}
    for each in indexed:
        if each.manifest_digest not in manifests or each.manifest_digest not in known:
            raise ValueError(
                f"the source has no manifest {each.manifest_digest}, or its bytes were not given"
            )
    rewriter = _Identical if options.identical else _Compatible
    return rewriter(source, data, indexed, manifests).rewritten()


class _Rewrite:
    """One rewrite: ``entries`` are the new index's entries as JSON, ``changed`` the new manifests."""

    def __init__(
        self,
        source: Manifest | Index,
        data: JsonObject,
        indexed: Sequence[IndexedManifest],
        manifests: Mapping[str, bytes],
    ) -> None:
        self.source = source
        self.data = data
        self.indexed = indexed
        self.raw_manifests = manifests
        self.soci_by_image = {each.manifest_digest: each.soci for each in indexed}
        self.entries: list[JsonObject] = [dict(item) for item in data["manifests"]]
        self.changed: list[Manifest] = []
        self.new_digests: dict[str, str] = {}

    def rewritten(self) -> RewrittenImage:
        for entry in self.entries:
            if self.wants(entry["digest"]):
                self.rewrite_entry(entry)
        self.finish_entries()
        for each in self.indexed:
            image_digest = self.new_digests[each.manifest_digest]
            self.add_soci(each, each.soci.descriptor(platform=each.platform, image_digest=image_digest))
        index: JsonObject = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX}
        index |= {key: value for key, value in self.data.items() if key not in index}
        index["manifests"] = self.entries
        annotations = self.index_annotations()
        if annotations:
            index["annotations"] = sorted_map(annotations)
        else:
            index.pop("annotations", None)
        return RewrittenImage(
            canonical_json(index), tuple(self.changed), tuple(each.soci for each in self.indexed)
        )

    def rewrite_entry(self, entry: JsonObject) -> None:
        old_digest = entry["digest"]
        manifest = parse_manifest(self.raw_manifests[old_digest], entry.get("mediaType"))
        if not isinstance(manifest, Manifest):
            raise UnsupportedError(f"manifest {old_digest} is an index inside an index")
        soci = self.soci_by_image.get(old_digest)
        new = self.annotated(manifest, soci)
        if new.digest != old_digest:
            self.changed.append(new)
        self.new_digests[old_digest] = new.digest
        entry |= {"mediaType": new.media_type, "digest": new.digest, "size": len(new.raw)}
        self.describe(entry, old_digest, new)

    # What the two modes do differently:

    def wants(self, digest: str) -> bool:
        """Whether the entry is to be rewritten."""
        raise NotImplementedError

    def annotated(self, manifest: Manifest, soci: SociIndex | None) -> Manifest:
        """The image manifest that names its SOCI index."""
        raise NotImplementedError

    def describe(self, entry: JsonObject, old_digest: str, new: Manifest) -> None:
        """Brings the annotations of the entry up to date."""
        raise NotImplementedError

    def finish_entries(self) -> None:
        """What is left to do once all manifests are rewritten."""

    def add_soci(self, indexed: IndexedManifest, descriptor: Descriptor) -> None:
        raise NotImplementedError

    def index_annotations(self) -> Mapping[str, str]:
        raise NotImplementedError


class _Compatible(_Rewrite):
    """Keeps every byte it need not change: unknown fields, annotations, entries that were not indexed."""

    def wants(self, digest: str) -> bool:
        return digest in self.soci_by_image

    def annotated(self, manifest: Manifest, soci: SociIndex | None) -> Manifest:
        assert soci is not None
        wanted = {**manifest.annotations, Annotation.INDEX_DIGEST: soci.digest}
        is_oci = manifest.media_type == MediaType.OCI_MANIFEST and "mediaType" in manifest.data
        if is_oci and wanted == manifest.annotations:
            return manifest
        data = manifest.data | {"mediaType": MediaType.OCI_MANIFEST, "annotations": sorted_map(wanted)}
        if manifest.config.media_type == MediaType.DOCKER_CONFIG:
            # Registries refuse Docker configs in OCI manifests. Docker layers they take.
            data["config"] = data["config"] | {"mediaType": MediaType.OCI_CONFIG}
        return Manifest.parse(canonical_json(data))

    def describe(self, entry: JsonObject, old_digest: str, new: Manifest) -> None:
        annotations = {Annotation.SOURCE_DIGEST: old_digest} | (entry.get("annotations") or {})
        annotations[Annotation.INDEX_DIGEST] = new.annotations[Annotation.INDEX_DIGEST]
        entry["annotations"] = sorted_map(annotations)
        entry.pop("data", None)  # the old manifest's bytes

    def finish_entries(self) -> None:
        """Points attestations at the rewritten image: tools look for them by the digest of a manifest of this index.

        The attestation itself stays as it was signed or recorded, about the source manifest.
        """
        self.entries = [with_attested(entry, self.new_digests) for entry in self.entries]

    def add_soci(self, indexed: IndexedManifest, descriptor: Descriptor) -> None:
        image_digest = self.new_digests[indexed.manifest_digest]
        outdated = {indexed.manifest_digest, image_digest}
        image_at = next(i for i, entry in enumerate(self.entries) if entry["digest"] == image_digest)
        soci_entry = descriptor.to_json()
        if self.entries[image_at].get("platform"):
            # As the image says it, however it was asked for.
            soci_entry["platform"] = self.entries[image_at]["platform"]
        old = [
            i
            for i, entry in enumerate(self.entries)
            if entry.get("artifactType") == SociType.INDEX_V2
            and (entry.get("annotations") or {}).get(Annotation.IMAGE_MANIFEST_DIGEST) in outdated
        ]
        if old and old[0] > image_at:
            self.entries[old[0]] = soci_entry
            old = old[1:]
        else:
            self.entries.append(soci_entry)
        for i in reversed(old):
            del self.entries[i]

    def index_annotations(self) -> Mapping[str, str]:
        return {Annotation.SOURCE_DIGEST: self.source.digest} | (self.data.get("annotations") or {})


class _Identical(_Rewrite):
    """What ``soci convert`` writes (soci_convert.go)."""

    def wants(self, digest: str) -> bool:
        return digest in self.raw_manifests

    def annotated(self, manifest: Manifest, soci: SociIndex | None) -> Manifest:
        data: JsonObject = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST}
        data |= {key: value for key, value in manifest.to_json().items() if key not in data}
        data["config"] = data["config"] | {"mediaType": MediaType.OCI_CONFIG}
        if soci is not None:
            data["annotations"] = sorted_map({**manifest.annotations, Annotation.INDEX_DIGEST: soci.digest})
        return Manifest.parse(canonical_json(data))

    def describe(self, entry: JsonObject, old_digest: str, new: Manifest) -> None:
        # From parsed parts, for the order of fields.
        described = replace(Descriptor.from_json(entry), annotations=new.annotations)
        entry.clear()
        entry.update(described.to_json())

    def finish_entries(self) -> None:
        replaced = [each.platform for each in self.indexed]
        for entry in map(Descriptor.from_json, self.entries):
            platform = entry.platform if entry.artifact_type == SociType.INDEX_V2 else None
            if platform and not any(platform.matches(wanted) for wanted in replaced):
                raise UnsupportedError(
                    f"SOCI fails on images that hold a SOCI index for a platform not asked for ({platform})"
                )

    def add_soci(self, indexed: IndexedManifest, descriptor: Descriptor) -> None:
        for i, entry in enumerate(map(Descriptor.from_json, self.entries)):
            if (
                entry.artifact_type == SociType.INDEX_V2
                and entry.platform
                and entry.platform.matches(indexed.platform)
            ):
                self.entries[i] = descriptor.to_json()
                return
        self.entries.append(descriptor.to_json())

    def index_annotations(self) -> Mapping[str, str]:
        return self.data.get("annotations") or {}
