"""The manifests of an accelerated image: what points where, and whether it is there and says the same."""

from accel.blobs import read_whole
from accel.errors import DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.formats.soci import Annotation
from accel.images import Child, Image, config_of
from accel.images.soci_lookup import FoundIndex
from accel.oci import EMPTY_JSON, ImageConfig, Manifest
from accel.verify.report import VerifyReport

# What an image can have wrong. Network errors and cancelling are none of its faults, and end the verification.
BAD_IMAGE = (FormatError, DigestMismatch, LimitError, NotFoundError, UnsupportedError)


def check_index(image: Image, report: VerifyReport) -> None:
    """The index above the platforms: children present, attestations about images that exist."""
    listed = {child.descriptor.digest for child in image.walk()}
    for child in image.walk():
        report.n_manifests += 1
        digest = child.descriptor.digest
        if child.kind == "broken":
            report.mismatch(digest, child.problem)
        if child.kind == "absent":
            report.notes.append(
                f"manifest {digest} ({child.platform or 'no platform'}) is listed but not there"
            )
        about = child.descriptor.attested_digest
        if about and about not in listed:
            report.mismatch(digest, f"attestation is about {about}, which this image does not hold")
        back = child.descriptor.annotations.get(Annotation.IMAGE_MANIFEST_DIGEST)
        if back and back not in listed:
            report.mismatch(digest, f"SOCI index is for {back}, which this image does not hold")


def check_config(image: Image, child: Child, report: VerifyReport) -> ImageConfig | None:
    """The config of one image: its bytes, and one diffID a layer."""
    assert child.manifest is not None
    try:
        config = config_of(image.store, child.manifest)
    except BAD_IMAGE as error:
        report.mismatch(child.manifest.config.digest, f"image config: {error}")
        return None
    if len(config.diff_ids) != len(child.manifest.layers):
        n_layers = len(child.manifest.layers)
        report.mismatch(child.manifest.config.digest, f"{len(config.diff_ids)} diffIDs for {n_layers} layers")
        return None
    return config


def check_soci_index(image: Image, child: Child, found: FoundIndex, report: VerifyReport) -> None:
    """One SOCI index: canonical bytes, its config, its links with the image, its zTOC descriptors."""
    assert child.manifest is not None
    soci = found.soci
    report.n_manifests += 1
    if not soci.is_canonical:
        report.mismatch(soci.digest, "SOCI index is not canonical JSON: the snapshotter cannot store it")
    config = Manifest.parse(soci.raw).config
    try:
        if read_whole(found.store.blob(config), config) != EMPTY_JSON:
            report.mismatch(config.digest, "config of the SOCI index is not {}")
    except BAD_IMAGE as error:
        report.mismatch(config.digest, f"config of the SOCI index: {error}")
    if soci.version == 2:
        _check_links(image, child, soci.digest, report)
    elif soci.subject is None or soci.subject.digest != child.descriptor.digest:
        report.mismatch(soci.digest, "subject of the SOCI index is not the image")
    layers = {layer.digest: layer for layer in child.manifest.layers}
    for digest, ztoc in found.ztocs.items():
        layer = layers.get(digest)
        told = ztoc.annotations.get(Annotation.LAYER_MEDIA_TYPE, "")
        if layer is None:
            report.mismatch(ztoc.digest, f"zTOC is for layer {digest}, which the image does not have")
        elif told not in ("", layer.media_type):
            report.mismatch(ztoc.digest, f"zTOC says its layer is {told!r}")
    _check_order(list(found.ztocs), [layer.digest for layer in child.manifest.layers], soci.digest, report)


def _check_links(image: Image, child: Child, soci_digest: str, report: VerifyReport) -> None:
    top = image.top.index
    if top is None:
        return
    entries = [entry for entry in image.walk() if entry.descriptor.digest == soci_digest]
    if not entries:
        report.mismatch(
            soci_digest, "SOCI index is not listed in the image's index: registries may delete it"
        )
    for entry in entries:
        back = entry.descriptor.annotations.get(Annotation.IMAGE_MANIFEST_DIGEST)
        if back != child.descriptor.digest:
            report.mismatch(soci_digest, f"its entry names image {back}, not {child.descriptor.digest}")
    told = child.descriptor.annotations.get(Annotation.INDEX_DIGEST)
    if told not in (None, soci_digest):
        report.mismatch(child.descriptor.digest, f"entry says SOCI index {told}, manifest says {soci_digest}")


def _check_order(indexed: list[str], layers: list[str], digest: str, report: VerifyReport) -> None:
    positions = [layers.index(layer) for layer in indexed if layer in layers]
    if positions != sorted(positions):
        report.mismatch(digest, "zTOCs are not in the order of the layers")
