"""SOCI indexes and accelerated images: what changes, what stays, and that a second run finds the first."""

import json

import pytest

from accel.errors import FormatError
from accel.formats.soci import (
    Annotation,
    IndexedManifest,
    SociIndex,
    SociOptions,
    accelerated_images,
    reusable_ztocs,
    rewrite_image,
    soci_index,
    ztoc_descriptor,
)
from accel.oci import (
    Descriptor,
    Index,
    Manifest,
    MediaType,
    Platform,
    canonical_json,
    digest_of,
    parse_manifest,
)
from support.images import attestation_of, foreign_layer, gzip_layer, image, index, random_tar
from support.soci_images import all_blobs, convert

OPTIONS = SociOptions(min_layer_bytes=1000)
BIG, OTHER = gzip_layer(random_tar(1, 12)), gzip_layer(random_tar(2, 12))
AMD64 = image([BIG, gzip_layer(b"")], annotations={"org.x": "<a&b>"})
ARM64 = image([OTHER, BIG], platform="linux/arm64/v8", pretty=True)
DOCKER = image([gzip_layer(random_tar(1, 12), docker=True)], docker=True)

# What SOCI's own converter wrote of a hand-made image (soci-snapshotter main of August 2026).
REAL_INDEX = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    b'"application/vnd.amazon.soci.index.v2+json","digest":'
    b'"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":'
    b'"application/octet-stream","digest":"sha256:a9825c4e4b3b622ca4e824b505567d9e6e49eea21eaf13d18301722a8de44d42",'
    b'"size":75088,"annotations":{"com.amazon.soci.image-layer-digest":'
    b'"sha256:8b17596c981b123a8e23cd27fb79b178e08e11624fb1401fc39e9b7de9a1f74c",'
    b'"com.amazon.soci.image-layer-mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",'
    b'"com.amazon.soci.span-size":"4194304"}},{"mediaType":"application/octet-stream","digest":'
    b'"sha256:527b19ade0f06982ca2eb728caded5013e29593f592cd449c98eb171939c11df","size":14344,"annotations":'
    b'{"com.amazon.soci.image-layer-digest":'
    b'"sha256:ec07f35585aac346fd38df432508eb55c7e21f573ff5820ff1b91a0620a49f52",'
    b'"com.amazon.soci.image-layer-mediaType":"application/vnd.oci.image.layer.v1.tar",'
    b'"com.amazon.soci.span-size":"4194304"}}],"annotations":{"com.amazon.soci.build-tool-identifier":'
    b'"AWS SOCI CLI v0.2"}}'
)
REAL_DIGEST = "sha256:bc6bd3c3cda27fbe361d8c7a0124467bd6db8c27569f2685839cdc0df2c35a66"


def test_the_real_converters_index_is_read_and_written_again():
    parsed = SociIndex.parse(REAL_INDEX)
    assert (parsed.digest, parsed.version, parsed.tool) == (REAL_DIGEST, 2, "AWS SOCI CLI v0.2")
    assert parsed.is_canonical
    assert parsed.ztoc_of("sha256:" + "0" * 64) is None
    assert parsed.ztoc_of(parsed.ztocs[1].annotations[Annotation.LAYER_DIGEST]) == parsed.ztocs[1]
    assert soci_index(parsed.ztocs, SociOptions(identical=True)).raw == REAL_INDEX


def test_an_index_with_a_subject_is_version_1():
    subject = Descriptor(
        MediaType.OCI_MANIFEST, AMD64.digest, len(AMD64.raw), platform=Platform("linux", "amd64")
    )
    made = soci_index(SociIndex.parse(REAL_INDEX).ztocs, SociOptions(identical=True), subject=subject)
    assert made.version == 1
    assert made.artifact_type == "application/vnd.amazon.soci.index.v1+json"
    expected = REAL_INDEX.replace(b"index.v2+json", b"index.v1+json").replace(
        b'],"annotations"',
        b'],"subject":{"mediaType":"%s","digest":"%s","size":%d},"annotations"'
        % (MediaType.OCI_MANIFEST.encode(), AMD64.digest.encode(), len(AMD64.raw)),
    )
    assert made.raw == expected


def test_other_manifests_are_no_soci_index():
    with pytest.raises(FormatError, match="not a SOCI index"):
        SociIndex.parse(AMD64.raw)
    with pytest.raises(FormatError, match="which layer"):
        SociIndex.parse(REAL_INDEX.replace(b"image-layer-digest", b"image-layer-digits"))
    with pytest.raises(ValueError, match="at least one"):
        soci_index([], OPTIONS)


def entries_of(raw: bytes) -> list[dict]:
    return json.loads(raw)["manifests"]


def check_links(raw: bytes, blobs: dict[str, bytes]) -> None:
    """Everything the index names exists with its size, and names of one another agree."""
    entries = entries_of(raw)
    digests = [entry["digest"] for entry in entries]
    for position, entry in enumerate(entries):
        assert digest_of(blobs[entry["digest"]]) == entry["digest"]
        assert len(blobs[entry["digest"]]) == entry["size"]
        annotations = entry.get("annotations", {})
        attested = annotations.get("vnd.docker.reference.digest")
        assert attested is None or attested in digests
        if "artifactType" in entry:
            image_at = digests.index(annotations[Annotation.IMAGE_MANIFEST_DIGEST])
            assert image_at < position
            manifest = json.loads(blobs[digests[image_at]])
            assert manifest["annotations"][Annotation.INDEX_DIGEST] == entry["digest"]
            assert entries[image_at]["annotations"][Annotation.INDEX_DIGEST] == entry["digest"]
            assert entries[image_at]["platform"] == entry["platform"]


SOURCES = {
    "one manifest": AMD64,
    "one Docker manifest": DOCKER,
    "two platforms": index([AMD64, ARM64], annotations={"org.y": "z"}),
    "attestations": index([AMD64, ARM64, attestation_of(AMD64), attestation_of(ARM64)]),
    "Docker list": index([DOCKER], docker=True),
    "pretty": index([AMD64, ARM64], pretty=True),
}


@pytest.mark.parametrize("case", SOURCES)
def test_an_accelerated_image_hangs_together_and_converts_to_itself(case):
    built = SOURCES[case]
    blobs = all_blobs(built)
    first = convert(built.raw, blobs, OPTIONS)
    blobs |= first.blobs
    check_links(first.image.raw, blobs)
    parsed = Index.parse(first.image.raw)
    assert parsed.media_type == MediaType.OCI_INDEX
    assert parsed.annotations[Annotation.SOURCE_DIGEST] == built.digest
    again = convert(first.image.raw, blobs, OPTIONS)
    assert again.image.raw == first.image.raw
    assert again.image.manifests == ()


@pytest.mark.parametrize("case", ["two platforms", "attestations", "pretty"])
def test_converting_some_platforms_leaves_the_others_alone(case):
    built = SOURCES[case]
    blobs = all_blobs(built)
    first = convert(built.raw, blobs, OPTIONS, platforms=["linux/arm64"])
    check_links(first.image.raw, blobs | first.blobs)
    before, after = entries_of(built.raw), entries_of(first.image.raw)
    assert after[0] == before[0]
    assert [entry for entry in after if entry["digest"] in first.blobs] == [after[1], after[-1]]
    # The rest in a second run, over the result of the first.
    blobs |= first.blobs
    second = convert(first.image.raw, blobs, OPTIONS, platforms=["linux/amd64"])
    blobs |= second.blobs
    check_links(second.image.raw, blobs)
    whole = convert(built.raw, all_blobs(built), OPTIONS)
    by_digest = {entry["digest"]: entry for entry in entries_of(second.image.raw)}
    assert by_digest == {entry["digest"]: entry for entry in entries_of(whole.image.raw)}


def test_only_what_must_change_in_a_manifest_changes():
    data = json.loads(AMD64.raw) | {"x-unknown": {"b": 1, "a": [1.5, None]}}
    raw = json.dumps(data, indent=2).encode()
    soci = SociIndex.parse(REAL_INDEX)
    made = rewrite_image(
        Manifest.parse(raw),
        [IndexedManifest(digest_of(raw), soci, Platform("linux", "amd64"))],
        OPTIONS,
        manifests={},
    )
    new = json.loads(made.manifests[0].raw)
    assert new.pop("annotations") == {"org.x": "<a&b>", Annotation.INDEX_DIGEST: REAL_DIGEST}
    del data["annotations"]
    assert new == data


def test_docker_manifests_become_oci_manifests_with_docker_layers():
    made = convert(DOCKER.raw, all_blobs(DOCKER), OPTIONS).image.manifests[0]
    assert (made.media_type, made.config.media_type) == (MediaType.OCI_MANIFEST, MediaType.OCI_CONFIG)
    assert made.layers == Manifest.parse(DOCKER.raw).layers


def test_annotations_and_unknown_fields_of_entries_are_kept():
    data = json.loads(index([AMD64]).raw)
    data["manifests"][0] |= {"annotations": {"z": "1"}, "x-field": 2, "data": "e30="}
    data["x-top"] = True
    raw = canonical_json(data)
    entry = entries_of(convert(raw, all_blobs(AMD64), OPTIONS).image.raw)[0]
    assert entry["x-field"] == 2
    assert "data" not in entry  # the bytes of the manifest before
    assert entry["annotations"]["z"] == "1"
    assert entry["annotations"][Annotation.SOURCE_DIGEST] == AMD64.digest


def test_attestations_name_the_rewritten_image_and_stay_untouched_themselves():
    built = SOURCES["attestations"]
    made = convert(built.raw, all_blobs(built), OPTIONS)
    entries = entries_of(made.image.raw)
    sources = entries_of(built.raw)
    for at in (2, 3):
        assert entries[at]["digest"] == sources[at]["digest"]
        assert entries[at]["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
        assert entries[at]["annotations"]["vnd.docker.reference.digest"] == entries[at - 2]["digest"]


def test_a_soci_index_made_with_other_options_is_replaced_in_its_place():
    built = SOURCES["two platforms"]
    blobs = all_blobs(built)
    first = convert(built.raw, blobs, OPTIONS)
    blobs |= first.blobs
    other = convert(first.image.raw, blobs, SociOptions(min_layer_bytes=1000, tool="another"))
    blobs |= other.blobs
    check_links(other.image.raw, blobs)
    before, after = entries_of(first.image.raw), entries_of(other.image.raw)
    assert [entry.get("artifactType") for entry in before] == [entry.get("artifactType") for entry in after]
    assert not {entry["digest"] for entry in before} & {entry["digest"] for entry in after}
    assert after[0]["annotations"][Annotation.SOURCE_DIGEST] == AMD64.digest


def test_nothing_indexed_or_unknown_manifests_are_mistakes():
    source = parse_manifest(SOURCES["two platforms"].raw)
    soci = SociIndex.parse(REAL_INDEX)
    with pytest.raises(ValueError, match="no manifest was indexed"):
        rewrite_image(source, [], OPTIONS, manifests={})
    for digest, manifests in ((AMD64.digest, {}), (DOCKER.digest, {DOCKER.digest: DOCKER.raw})):
        with pytest.raises(ValueError, match="has no manifest"):
            rewrite_image(
                source,
                [IndexedManifest(digest, soci, Platform("linux", "amd64"))],
                OPTIONS,
                manifests=manifests,
            )


def test_a_second_run_finds_what_the_first_made():
    built = SOURCES["two platforms"]
    blobs = all_blobs(built)
    made = convert(built.raw, blobs, OPTIONS)
    found = accelerated_images(Index.parse(made.image.raw))
    assert [each.source_digest for each in found] == [AMD64.digest, ARM64.digest]
    soci = SociIndex.parse(made.blobs[found[0].soci.digest])
    assert set(reusable_ztocs(soci, OPTIONS)) == {BIG.descriptor.digest}
    assert reusable_ztocs(soci, SociOptions(min_layer_bytes=0)) != {}
    for other in (SociOptions(span_bytes=1 << 20), SociOptions(tool="x"), SociOptions(identical=True)):
        assert reusable_ztocs(soci, other) == {}
    theirs = SociIndex.parse(REAL_INDEX)
    assert len(reusable_ztocs(theirs, SociOptions(identical=True))) == 2
    assert reusable_ztocs(theirs, SociOptions(identical=True, span_bytes=5)) == {}
    assert reusable_ztocs(theirs, OPTIONS) == {}


def test_foreign_layers_are_left_alone():
    built = image([BIG, foreign_layer(random_tar(9, 30))], docker=True)
    made = convert(built.raw, all_blobs(built), SociOptions(min_layer_bytes=0))
    assert [ztoc.annotations[Annotation.LAYER_DIGEST] for ztoc in made.image.soci[0].ztocs] == [
        BIG.descriptor.digest
    ]


def test_a_ztoc_descriptor_says_what_it_is_of():
    descriptor = ztoc_descriptor(b"ztoc", BIG.descriptor, OPTIONS, span_bytes=77)
    assert descriptor.digest == digest_of(b"ztoc")
    assert descriptor.annotations == {
        "com.amazon.soci.image-layer-digest": BIG.descriptor.digest,
        "com.amazon.soci.image-layer-mediaType": MediaType.OCI_LAYER_GZIP,
        "com.amazon.soci.span-size": "77",
    }
