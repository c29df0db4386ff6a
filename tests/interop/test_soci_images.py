"""Our SOCI indexes and converted images against SOCI's own."""

import pytest

from accel.errors import UnsupportedError
from accel.formats.soci import SociIndex, SociOptions, soci_index, ztoc_descriptor
from accel.oci import Descriptor, MediaType
from support.images import (
    attestation_of,
    directory,
    file,
    gzip_layer,
    image,
    index,
    layer_of,
    plain_layer,
    random_tar,
    symlink,
    tar_of,
)
from support.soci_images import all_blobs, convert, layout_blobs, write_layout
from support.soci_interop import SociError

pytestmark = pytest.mark.interop

MIN_BYTES = 3000
IDENTICAL = SociOptions(identical=True, min_layer_bytes=MIN_BYTES)

BIG = gzip_layer(random_tar(1, 30))
DOCKER_BIG = gzip_layer(random_tar(1, 30), docker=True)
OTHER = gzip_layer(random_tar(2, 40))
SMALL = gzip_layer(tar_of(directory("etc"), file("etc/motd", b"hello"), symlink("motd", "etc/motd")))
PLAIN = plain_layer(random_tar(3, 5))
ZSTD = layer_of(b"\x28\xb5\x2f\xfd" + bytes(5000), MediaType.OCI_LAYER_ZSTD)

AMD64 = image([BIG, SMALL, PLAIN, ZSTD], annotations={"org.x": "<a&b>", "a": "é\u2028"})
ARM64 = image([OTHER, BIG], platform="linux/arm64/v8")
ARMV7 = image([OTHER], platform="linux/arm/v7")
TOO_SMALL = image([SMALL], platform="linux/s390x")
DOCKER = image([DOCKER_BIG, gzip_layer(random_tar(4, 30), docker=True)], docker=True)
WINDOWS = image([BIG], platform="windows/amd64")

CASES = {
    "one manifest": (AMD64, None),
    "one manifest, pretty": (image([BIG], pretty=True), None),
    "one Docker manifest": (DOCKER, None),
    "one manifest without its media type": (
        image([OTHER], leave_out=["mediaType"], platform="linux/arm64/v8"),
        None,
    ),
    "two platforms": (index([AMD64, ARM64], annotations={"org.y": "z", "org.a": "&"}), None),
    "two platforms, one asked for": (index([AMD64, ARM64]), ["linux/arm64"]),
    "two platforms in another order": (index([AMD64, ARM64, ARMV7]), ["linux/arm/v7", "linux/amd64"]),
    "pretty, no media type": (index([AMD64, ARM64], pretty=True, leave_out=["mediaType"]), None),
    "Docker list": (
        index([DOCKER, image([DOCKER_BIG], docker=True, platform="linux/arm64/v8")], docker=True),
        None,
    ),
    "Docker manifest in an OCI index": (index([DOCKER, ARM64]), None),
    "attestations": (index([AMD64, ARM64, attestation_of(AMD64), attestation_of(ARM64)]), None),
    "a platform with small layers only": (index([AMD64, TOO_SMALL]), None),
    "two operating systems": (index([WINDOWS, AMD64]), None),
}


def platform_names(built) -> list[str]:
    return [
        "/".join(filter(None, (p.os, p.architecture, p.variant)))
        for p in (child.descriptor.platform for child in built.children)
        if p and p.os != "unknown"
    ]


@pytest.mark.parametrize("case", CASES)
def test_identical_images_are_byte_for_byte_those_of_the_real_converter(soci, tmp_path, case):
    built, platforms = CASES[case]
    blobs = all_blobs(built)
    layout = write_layout(tmp_path / "layout", blobs)
    target = Descriptor(built.media_type, built.digest, len(built.raw))
    theirs = soci.convert(layout, target, MIN_BYTES, platforms or platform_names(built))
    ours = convert(built.raw, blobs, IDENTICAL, platforms=platforms)
    made = layout_blobs(layout)
    assert ours.image.raw.decode() == made[theirs].decode()
    assert {digest: made.get(digest) for digest in ours.blobs} == ours.blobs


def test_converting_the_converted_image_again_is_the_same_in_both(soci, tmp_path):
    built, _ = CASES["two platforms"]
    blobs = all_blobs(built)
    first = convert(built.raw, blobs, IDENTICAL)
    blobs |= first.blobs
    again = convert(first.image.raw, blobs, IDENTICAL)
    layout = write_layout(tmp_path / "layout", blobs)
    theirs = soci.convert(layout, first.image.descriptor(), MIN_BYTES, platform_names(built))
    assert theirs == again.image.descriptor().digest == first.image.descriptor().digest
    with pytest.raises(UnsupportedError, match="not asked for"):
        convert(first.image.raw, blobs, IDENTICAL, platforms=["linux/amd64"])
    with pytest.raises(SociError):
        soci.convert(
            write_layout(tmp_path / "other", blobs), first.image.descriptor(), MIN_BYTES, ["linux/amd64"]
        )


REFUSED = {
    "Docker tar type holding gzip": image([layer_of(BIG.data, MediaType.DOCKER_LAYER)], docker=True),
    "not a layer": image([BIG, layer_of(bytes(9000), "application/vnd.example.model")]),
    "zero padding": image([layer_of(BIG.data + bytes(512), MediaType.OCI_LAYER_GZIP)]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_identical_mode_refuses_the_images_that_the_real_converter_refuses(soci, tmp_path, case):
    built = REFUSED[case]
    blobs = all_blobs(built)
    target = Descriptor(built.media_type, built.digest, len(built.raw))
    with pytest.raises(SociError):
        soci.convert(write_layout(tmp_path / "layout", blobs), target, MIN_BYTES, [])
    with pytest.raises(UnsupportedError):
        convert(built.raw, blobs, IDENTICAL)
    if case != "zero padding":
        return
    assert convert(built.raw, blobs, SociOptions(min_layer_bytes=0)).image.soci


@pytest.mark.parametrize("subject", [None, Descriptor(MediaType.OCI_MANIFEST, AMD64.digest, len(AMD64.raw))])
@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("tool", ["AWS SOCI CLI v0.2", 'odd <&> "tool" \\ \u2028 é \x01\n'])
def test_the_real_reader_gets_our_index_back_byte_for_byte(soci, subject, identical, tool):
    options = SociOptions(identical=identical, tool=tool)
    ztocs = [
        ztoc_descriptor(b"ztoc%d" % i, layer.descriptor, options)
        for i, layer in enumerate([BIG, OTHER, PLAIN])
    ]
    made = soci_index(ztocs, options, subject=subject)
    assert made.version == (2 if subject is None else 1)
    assert made.is_canonical
    assert soci.index(made.raw) == made.raw


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw + b"\n",
        lambda raw: raw.replace(b'"schemaVersion":2', b'"schemaVersion": 2'),
        lambda raw: raw.replace(b'{"schemaVersion":2', b'{"artifactType":"application/x","schemaVersion":2'),
        lambda raw: raw.replace(b"\\u003c", b"<"),
        lambda raw: raw.replace(
            b'"annotations":{"com.amazon.soci.build', b'"extra":1,"annotations":{"com.amazon.soci.build'
        ),
    ],
)
def test_we_know_which_indexes_the_real_reader_does_not_get_back(soci, spoil):
    options = SociOptions(tool="<tool>")
    raw = spoil(soci_index([ztoc_descriptor(b"ztoc", BIG.descriptor, options)], options).raw)
    assert soci.index(raw) != raw
    assert not SociIndex.parse(raw).is_canonical
