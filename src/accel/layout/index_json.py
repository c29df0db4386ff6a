"""The ``index.json`` of a layout: which image a tag names, and what it looks like with one entry more.

Pure functions over parsed values (image-spec «image layout»). An entry is a descriptor; its tag is the annotation
``org.opencontainers.image.ref.name``, and the same tag may stand only once.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from accel.errors import FormatError, NotFoundError
from accel.oci import MANIFEST_TYPES, Descriptor, Index, canonical_json, split_digest
from accel.oci.fields import JsonObject

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"  # the full name, beside a short REF_NAME (BuildKit, docker save)
EMPTY_INDEX = b'{"schemaVersion":2,"manifests":[]}'
_FALLBACK_TAG = re.compile(r"sha(256|512)-[0-9a-f]+(\.[a-z]+)?", re.ASCII)
_SHOWN_TAGS = 10


def tags_of(index: Index) -> list[str]:
    """The tags of all entries, in order, referrers' fallback tags left out."""
    names = (entry.annotations.get(REF_NAME, "") for entry in index.manifests)
    return [name for name in names if name and not _FALLBACK_TAG.fullmatch(name)]


def fallback_tag(digest: str) -> str:
    """The tag under which referrers of ``digest`` are listed (distribution-spec «Referrers Tag Schema»)."""
    algorithm, encoded = split_digest(digest)
    return f"{algorithm}-{encoded}"


def find_tag(index: Index, tag: str, name: str) -> Descriptor:
    """The entry with this tag, or else with this full name. ``name`` is the layout's, for errors.

    Raises NotFoundError, or FormatError where several images have the tag.
    """
    found = [e for e in index.manifests if e.annotations.get(REF_NAME) == tag]
    found = found or [e for e in index.manifests if e.annotations.get(CONTAINERD_NAME) == tag]
    if not found:
        raise NotFoundError(f"no image tagged {tag!r} in {name} ({_choices(index)})")
    if len({e.digest for e in found}) > 1:
        raise FormatError(
            f"{len(found)} different images are tagged {tag!r} in {name}; name one by its digest"
        )
    return found[0]


def image_entries(index: Index) -> list[Descriptor]:
    """The entries that may be images by what ``index.json`` says: no attestations, artifacts or fallback tags."""
    return [
        e
        for e in index.manifests
        if not e.is_attestation
        and not e.artifact_type
        and not _FALLBACK_TAG.fullmatch(e.annotations.get(REF_NAME, ""))
    ]


def only_image(index: Index, images: Iterable[Descriptor], name: str) -> Descriptor | None:
    """The one image among ``images``; None if ``index.json`` itself is the image.

    That is so where it lists nameless manifests with a platform each (some builders leave out the nested index).
    Raises NotFoundError where there is no image, or a choice.
    """
    distinct = list({e.digest: e for e in images}.values())
    if not distinct:
        raise NotFoundError(f"no image in {name}")
    if len(distinct) == 1:
        return distinct[0]
    if all(e.media_type in MANIFEST_TYPES and e.platform and not _is_named(e) for e in distinct):
        return None
    raise NotFoundError(f"{len(distinct)} images in {name}; say which ({_choices(index)})")


def with_entry(index: Index, entry: Descriptor) -> bytes:
    """``index.json`` with ``entry``: in place of the one with its tag, or of the nameless one with its digest.

    Other entries, and fields we do not know, stay as they are.
    """
    tag = entry.annotations.get(REF_NAME, "")
    data: JsonObject = dict(index.data)
    old = data.get("manifests") or []
    new, placed = [], False
    for known, raw in zip(index.manifests, old, strict=True):
        known_tag = known.annotations.get(REF_NAME, "")
        if known_tag == tag and (tag or known.digest == entry.digest):
            if not placed:
                new.append(entry.to_json())
            placed = True
        else:
            new.append(raw)
    data["manifests"] = new if placed else [*new, entry.to_json()]
    return canonical_json(data)


def tagged(descriptor: Descriptor, tag: str) -> Descriptor:
    """``descriptor`` as the entry for ``tag`` ("": without a name)."""
    annotations = {k: v for k, v in descriptor.annotations.items() if k != REF_NAME}
    return replace(descriptor, annotations=annotations | ({REF_NAME: tag} if tag else {}))


def _is_named(entry: Descriptor) -> bool:
    return REF_NAME in entry.annotations or CONTAINERD_NAME in entry.annotations


def _choices(index: Index) -> str:
    tags = tags_of(index)
    if not tags:
        return "there are no tags" if index.manifests else "it is empty"
    more = f" and {len(tags) - _SHOWN_TAGS} more" if len(tags) > _SHOWN_TAGS else ""
    return "tags: " + ", ".join(tag[:200] for tag in tags[:_SHOWN_TAGS]) + more
