"""What follows the data of a layer, and what its descriptor says of it.

::

    eStargz   members | TOC member                                    | footer
    zstd      frames  | TOC in a skippable frame | tar-split likewise | footer

One zstd blob serves both readers: stargz-snapshotter finds the TOC by the footer, containers/storage by annotations,
and neither minds the other's frames. One descriptor cannot: containers/storage refuses the pull of a layer that has
annotations of both. So the annotations differ by manifest.
"""

from dataclasses import dataclass, field

import zstandard

from accel.formats.stargz.footer import FRAME_HEAD_BYTES, Extent, gzip_footer, skippable_frame, zstd_footer
from accel.formats.stargz.names import TOC_TYPE, Annotation
from accel.formats.stargz.tar_split import TarSplit
from accel.oci import MediaType, digest_of

ESTARGZ_LAYER = MediaType.OCI_LAYER_GZIP
ZSTD_LAYER = MediaType.OCI_LAYER_ZSTD

TOC_LEVEL = 6


def estargz_annotations(toc: bytes, uncomp_size: int) -> dict[str, str]:
    """Of an eStargz layer with this TOC; ``uncomp_size`` is that of its whole tar, TOC member included."""
    return {Annotation.TOC_DIGEST: digest_of(toc), Annotation.UNCOMP_SIZE: str(uncomp_size)}


def estargz_end(toc_member_offset: int) -> bytes:
    """The bytes behind the TOC member, which begins at ``toc_member_offset``."""
    return gzip_footer(toc_member_offset)


@dataclass(frozen=True, slots=True)
class ZstdEnd:
    """The end of a zstd blob, to be written behind its last frame of data, and the facts for annotations."""

    data: bytes = field(repr=False)
    toc: Extent
    toc_digest: str  # of the JSON
    comp_toc_digest: str
    tar_split: Extent

    def containers_annotations(self) -> dict[str, str]:
        """For podman, buildah, skopeo and CRI-O."""
        return {
            Annotation.CHECKSUM: self.comp_toc_digest,
            Annotation.POSITION: f"{self.toc.position}:{TOC_TYPE}",
            Annotation.TAR_SPLIT_POSITION: self.tar_split.position,
        }

    def stargz_annotations(self, uncomp_size: int) -> dict[str, str]:
        """For stargz-snapshotter; ``uncomp_size`` is that of the tar."""
        return {
            Annotation.TOC_DIGEST: self.toc_digest,
            Annotation.UNCOMP_SIZE: str(uncomp_size),
            Annotation.STARGZ_CHECKSUM: self.comp_toc_digest,
            Annotation.STARGZ_POSITION: f"{self.toc.position}:{TOC_TYPE}",
        }


def zstd_end(data_end: int, toc: bytes, tar_split: TarSplit, *, level: int = TOC_LEVEL) -> ZstdEnd:
    """The end of a blob whose frames of data end at ``data_end``; ``toc`` was made with the digest of ``tar_split``."""
    comp_toc = zstandard.ZstdCompressor(level=level).compress(toc)
    toc_extent = Extent(data_end + FRAME_HEAD_BYTES, len(comp_toc), len(toc))
    split_extent = Extent(toc_extent.comp_end + FRAME_HEAD_BYTES, len(tar_split.data), tar_split.uncomp_size)
    data = skippable_frame(comp_toc) + skippable_frame(tar_split.data) + zstd_footer(toc_extent)
    return ZstdEnd(
        data,
        toc_extent,
        digest_of(toc),
        digest_of(comp_toc),
        split_extent,
    )
