"""What earlier runs left behind, so that no layer is indexed twice."""

import logging

from accel.blobs import read_whole
from accel.convert.options import ConvertOptions
from accel.convert.plan import Plan
from accel.convert.scan import Ztoc, keep
from accel.errors import DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.formats.soci import Annotation, SociIndex, SociType, accelerated_images, reusable_ztocs
from accel.images.soci_lookup import MAX_ZTOC_BYTES, read_soci_index
from accel.oci import Index, parse_manifest
from accel.stores import ImageStore

_log = logging.getLogger(__name__)
_UNUSABLE = (FormatError, DigestMismatch, LimitError, NotFoundError, UnsupportedError)


def find_earlier(plan: Plan, dest: ImageStore, tag: str, options: ConvertOptions) -> dict[str, Ztoc]:
    """zTOCs that need not be made again, by layer digest: from the image under ``tag``, the source, and its referrers.

    They are used only if the same options would give them again. What is broken is passed over: it will be made anew.
    """
    wanted = {job.descriptor.digest for job in plan.jobs}
    found: dict[str, Ztoc] = {}
    for store, digest in _indexes(plan, dest, tag):
        if wanted <= found.keys():
            break
        try:
            usable = reusable_ztocs(read_soci_index(store, digest), options.soci)
            for layer in (wanted & usable.keys()) - found.keys():
                ztoc = usable[layer]
                if dest.has_blob(ztoc):
                    found[layer] = Ztoc(ztoc)
                elif store is not dest:
                    found[layer] = keep(read_whole(store.blob(ztoc), ztoc, max_bytes=MAX_ZTOC_BYTES), ztoc)
        except _UNUSABLE as error:
            _log.info("SOCI index %s of %s is of no use: %s", digest, store.name, error)
    return found


def tagged_index(dest: ImageStore, tag: str) -> Index | None:
    """The index under ``tag``; None if there is none or it is not an index."""
    try:
        descriptor, raw = dest.get_manifest(tag)
        parsed = parse_manifest(raw, descriptor.media_type)
    except _UNUSABLE:
        return None
    return parsed if isinstance(parsed, Index) else None


def linked_index(dest: ImageStore, subject_digest: str, index: SociIndex) -> bool:
    """Whether ``index`` is among the referrers of the image already."""
    return any(found.digest == index.digest for found in dest.referrers(subject_digest, SociType.INDEX_V1))


def _indexes(plan: Plan, dest: ImageStore, tag: str) -> list[tuple[ImageStore, str]]:
    """Where SOCI indexes may be, the likeliest first."""
    places: list[tuple[ImageStore, str]] = []
    index = tagged_index(dest, tag)
    if index is not None:
        places += [(dest, accelerated.soci.digest) for accelerated in accelerated_images(index)]
    for child in plan.targets:
        if child.manifest and (digest := child.manifest.annotations.get(Annotation.INDEX_DIGEST)):
            places.append((plan.image.store, digest))
    for child in plan.targets:
        try:
            referrers = dest.referrers(child.descriptor.digest, SociType.INDEX_V1)
        except _UNUSABLE:
            continue
        places += [(dest, referrer.digest) for referrer in referrers]
    return list(dict.fromkeys(places))
