"""What an accelerated image already holds, so that a second run need not make it again."""

from dataclasses import dataclass

from accel.formats.soci.index import SociIndex
from accel.formats.soci.names import Annotation, SociType
from accel.formats.soci.options import SociOptions
from accel.oci import Descriptor, Index


@dataclass(frozen=True, slots=True)
class AcceleratedImage:
    """An image manifest of an accelerated index, the SOCI index it names, and the manifest it was made from.

    ``source_digest`` is "" where the converter did not note it (SOCI's own does not).
    """

    image: Descriptor
    soci: Descriptor
    source_digest: str


def accelerated_images(index: Index) -> tuple[AcceleratedImage, ...]:
    """The images of ``index`` whose SOCI index is in it too, in order."""
    found = []
    for image in index.manifests:
        wanted = image.annotations.get(Annotation.INDEX_DIGEST)
        for soci in index.manifests:
            if wanted and soci.digest == wanted and soci.artifact_type == SociType.INDEX_V2:
                found.append(
                    AcceleratedImage(image, soci, image.annotations.get(Annotation.SOURCE_DIGEST, ""))
                )
                break
    return tuple(found)


def reusable_ztocs(soci: SociIndex, options: SociOptions) -> dict[str, Descriptor]:
    """The zTOC descriptors in ``soci`` that ``options`` would give again, by layer digest.

    In compatible mode the index must carry our fingerprint of the options; in identical mode the tool and each zTOC's
    span size must be the same and the index none of our compatible ones.
    """
    made_with = soci.annotations.get(Annotation.OPTIONS)
    if made_with != (None if options.identical else options.fingerprint):
        return {}
    if options.identical and soci.tool != options.tool:
        return {}
    span_size = str(options.span_bytes)
    return {
        ztoc.annotations[Annotation.LAYER_DIGEST]: ztoc
        for ztoc in soci.ztocs
        if not options.identical or ztoc.annotations.get(Annotation.SPAN_SIZE) == span_size
    }
