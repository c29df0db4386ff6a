"""Manifests, indexes, descriptors and configs: what is kept, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.errors import AccelError, FormatError, LimitError, UnsupportedError
from accel.oci import (
    EMPTY_CONFIG,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    Platform,
    canonical_json,
    check_digest,
    digest_of,
    is_foreign_layer,
    is_layer,
    parse_manifest,
)
from support.images import attestation_of, foreign_layer, gzip_layer, image, index, plain_layer, tar_of

# fmt: off
# Made by the real `soci convert` from a three-layer image; the digests are those it gave.
SOCI_OCI_INDEX = (
    r'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",'
    r'"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    r'"digest":"sha256:662c1d302bbe416a02061a08a2b5e598e9636dfbb78109aacbc3bd95bc0a8e10","size":863,'
    r'"annotations":{"com.amazon.soci.index-digest":"sha256:bc6bd3c3cda27fbe361d8c7a0124467bd6db8c27569f268583'
    r'9cdc0df2c35a66","org.x":"\u003ca\u0026b\u003e"},"platform":{"architecture":"amd64","os":"linux"}},'
    r'{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    r'"digest":"sha256:bc6bd3c3cda27fbe361d8c7a0124467bd6db8c27569f2685839cdc0df2c35a66","size":1093,'
    r'"annotations":{"com.amazon.soci.image-manifest-digest":"sha256:662c1d302bbe416a02061a08a2b5e598e9636dfbb'
    r'78109aacbc3bd95bc0a8e10"},"platform":{"architecture":"amd64","os":"linux"},'
    r'"artifactType":"application/vnd.amazon.soci.index.v2+json"}]}'
)
SOCI_INDEX = (
    r'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    r'"config":{"mediaType":"application/vnd.amazon.soci.index.v2+json",'
    r'"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},'
    r'"layers":[{"mediaType":"application/octet-stream",'
    r'"digest":"sha256:a9825c4e4b3b622ca4e824b505567d9e6e49eea21eaf13d18301722a8de44d42","size":75088,'
    r'"annotations":{"com.amazon.soci.image-layer-digest":"sha256:8b17596c981b123a8e23cd27fb79b178e08e11624fb1'
    r'401fc39e9b7de9a1f74c","com.amazon.soci.image-layer-mediaType":"application/vnd.oci.image.layer.v1.tar+gz'
    r'ip","com.amazon.soci.span-size":"4194304"}},{"mediaType":"application/octet-stream",'
    r'"digest":"sha256:527b19ade0f06982ca2eb728caded5013e29593f592cd449c98eb171939c11df","size":14344,'
    r'"annotations":{"com.amazon.soci.image-layer-digest":"sha256:ec07f35585aac346fd38df432508eb55c7e21f573ff5'
    r'820ff1b91a0620a49f52","com.amazon.soci.image-layer-mediaType":"application/vnd.oci.image.layer.v1.tar",'
    r'"com.amazon.soci.span-size":"4194304"}}],'
    r'"annotations":{"com.amazon.soci.build-tool-identifier":"AWS SOCI CLI v0.2"}}'
)
# fmt: on


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (SOCI_OCI_INDEX, "sha256:365dc50d8ba1815c56a2accfe05821d3f49fc1e03004086c70ffe59bdfdd8903"),
        (SOCI_INDEX, "sha256:bc6bd3c3cda27fbe361d8c7a0124467bd6db8c27569f2685839cdc0df2c35a66"),
    ],
)
def test_what_a_go_tool_wrote_comes_out_again_byte_by_byte(text: str, digest: str) -> None:
    raw = text.encode()
    parsed = parse_manifest(raw)
    assert (parsed.digest, parsed.raw, parsed.descriptor().size) == (digest, raw, len(raw))
    assert canonical_json(parsed.to_json()) == raw
    shuffled = json.dumps(json.loads(text), sort_keys=True, indent=2).encode()
    assert canonical_json(parse_manifest(shuffled).to_json()) == raw


def test_an_image_is_parsed_with_everything_in_it() -> None:
    layers = [gzip_layer(tar_of(), docker=True), plain_layer(tar_of(), docker=True), foreign_layer()]
    built = image(layers, platform="linux/arm64/v8", docker=True, annotations={"b": "1", "a": "2"})
    manifest = Manifest.parse(
        built.raw, "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"
    )
    assert manifest.layers == tuple(layer.descriptor for layer in layers)
    assert manifest.layers[2].urls == ("https://layers.invalid/windows/base",)
    assert (manifest.digest, manifest.annotations) == (built.digest, {"b": "1", "a": "2"})
    config = ImageConfig.parse(built.blobs[manifest.config.digest])
    assert config.platform == Platform("linux", "arm64", "v8")
    assert config.diff_ids == tuple(layer.diff_id for layer in layers)
    assert manifest.data == json.loads(built.raw)


def test_an_index_is_parsed_with_its_platforms_and_attestations() -> None:
    child = image([gzip_layer(tar_of())])
    inner = index([child])
    built = index([child, attestation_of(child), inner])
    parsed = Index.parse(built.raw)
    assert [d.digest for d in parsed.manifests] == [c.digest for c in built.children]
    assert parsed.manifests[0].platform == Platform("linux", "amd64")
    assert [d.attested_digest for d in parsed.manifests] == ["", child.digest, ""]
    assert parsed.manifests[1].platform and parsed.manifests[1].platform.is_unknown
    assert parsed.manifests[2].media_type == MediaType.OCI_INDEX


def test_descriptor_fields_are_in_gos_order_and_empty_ones_absent() -> None:
    full = Descriptor(
        "a/b",
        digest_of(b"x"),
        1,
        ("u",),
        {"z": "1", "a": "2"},
        b"x",
        Platform("linux", "amd64"),
        "c/d",
    )
    fields = ["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"]
    assert list(full.to_json()) == fields
    assert list(full.to_json()["annotations"]) == ["a", "z"]
    assert Descriptor.from_json(full.to_json()) == full
    assert list(EMPTY_CONFIG.to_json()) == fields[:3]
    assert EMPTY_CONFIG.digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert len({full, full, EMPTY_CONFIG}) == 2


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("make", [image, index])
def test_without_a_media_type_the_announced_one_counts_and_then_the_content(make: Any, docker: bool) -> None:
    built = make([], docker=docker, leave_out=["mediaType"])
    assert parse_manifest(built.raw, built.media_type).media_type == built.media_type
    oci = MediaType.OCI_MANIFEST if make is image else MediaType.OCI_INDEX
    assert parse_manifest(built.raw).media_type == oci
    assert parse_manifest(built.raw, "application/json").media_type == oci
    assert "mediaType" not in parse_manifest(built.raw, built.media_type).to_json()


def test_lists_that_are_null_stay_null_as_in_go() -> None:
    raw = b'{"schemaVersion":2,"manifests":null}'
    assert canonical_json(Index.parse(raw).to_json()) == raw


def document(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": EMPTY_CONFIG.to_json(),
        "layers": [EMPTY_CONFIG.to_json()],
    }
    fields |= changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


def layer_with(**changes: Any) -> bytes:
    fields = EMPTY_CONFIG.to_json() | changes
    return document(layers=[EMPTY_CONFIG.to_json(), {k: v for k, v in fields.items() if v is not ...}])


@pytest.mark.parametrize(
    ("raw", "told", "why"),
    [
        (b"[]", None, "not an object"),
        (document(schemaVersion=...), None, "schemaVersion"),
        (document(schemaVersion=3), None, "schemaVersion"),
        (document(schemaVersion="2"), None, "schemaVersion"),
        (document(schemaVersion=2.0), None, "schemaVersion"),
        (document(schemaVersion=True), None, "schema 1|schemaVersion"),
        (document(mediaType=5), None, "mediaType is not a string"),
        (document(mediaType=MediaType.OCI_INDEX), None, "does not hold"),
        (document(mediaType=...), MediaType.OCI_INDEX, "does not hold"),
        (document(), MediaType.DOCKER_MANIFEST, "announced as"),
        (document(manifests=[]), None, "both manifests and"),
        (document(mediaType=..., layers=..., config=...), None, "config is missing"),
        (document(config=...), None, "config is missing"),
        (document(config=[]), None, "config is not an object"),
        (document(layers={}), None, "layers is not a list"),
        (document(layers=[1]), None, r"layers\[0\] is not an object"),
        (document(annotations=[]), None, "annotations is not an object"),
        (document(annotations={"a": 1}), None, "annotations.*'a'.* is not a string"),
        (document(subject="x"), None, "subject is not an object"),
        (document(subject={}), None, "subject.digest"),
        (document(artifactType=1), None, "artifactType"),
        (layer_with(digest="sha256:../../../etc/passwd"), None, r"layers\[1\].digest"),
        (layer_with(digest="sha256:" + "g" * 64), None, r"layers\[1\].digest"),
        (layer_with(digest="sha256:" + "a" * 63), None, r"layers\[1\].digest"),
        (layer_with(digest=7), None, r"layers\[1\].digest"),
        (layer_with(size=-1), None, r"layers\[1\].size"),
        (layer_with(size=2**63), None, r"layers\[1\].size"),
        (layer_with(size=1.5), None, r"layers\[1\].size"),
        (layer_with(size="1"), None, r"layers\[1\].size"),
        (layer_with(size=True), None, r"layers\[1\].size"),
        (layer_with(size=...), None, r"layers\[1\].size is missing"),
        (layer_with(mediaType=...), None, r"layers\[1\].mediaType"),
        (layer_with(urls="http://x"), None, r"layers\[1\].urls"),
        (layer_with(urls=[1]), None, r"layers\[1\].urls\[0\]"),
        (layer_with(data="*"), None, r"layers\[1\].data"),
        (layer_with(platform=[]), None, r"layers\[1\].platform"),
        (layer_with(platform={"os.features": [1]}), None, r"os.features\[0\]"),
    ],
)
def test_bad_manifests_are_refused_by_the_name_of_the_field(raw: bytes, told: str | None, why: str) -> None:
    with pytest.raises((FormatError, UnsupportedError), match=why):
        parse_manifest(raw, told)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"schemaVersion":1,"name":"x"}', None),
        (document(mediaType=...), MediaType.DOCKER_SCHEMA1_SIGNED),
        (document(mediaType="application/vnd.oci.artifact.manifest.v1+json"), None),
        (layer_with(digest="sha384:" + "a" * 96), None),
    ],
)
def test_other_kinds_are_unsupported(raw: bytes, told: str | None) -> None:
    with pytest.raises(UnsupportedError):
        parse_manifest(raw, told)


def test_one_kind_is_not_taken_for_the_other() -> None:
    with pytest.raises(FormatError, match="index was expected"):
        Index.parse(document())
    with pytest.raises(FormatError, match="manifest was expected"):
        Manifest.parse(index([]).raw)


def test_manifests_past_the_limit_are_not_parsed() -> None:
    with pytest.raises(LimitError):
        parse_manifest(b" " * (4 << 20) + document())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_value_in_any_field_parses_or_is_refused(data: st.DataObject) -> None:
    fields = (
        json.loads(index([image([gzip_layer(tar_of())])]).raw)
        if data.draw(st.booleans())
        else json.loads(document())
    )
    place: Any = fields
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if not place[key] or not isinstance(place[key], (dict, list)) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
            ),
            max_leaves=5,
        )
    )
    try:
        parsed = parse_manifest(json.dumps(fields).encode())
    except AccelError:
        return
    again = parse_manifest(canonical_json(parsed.to_json()), parsed.media_type)
    assert again.to_json() == parsed.to_json()


@pytest.mark.parametrize("diff_ids", [["sha256:x"], [1], "x", [None]])
def test_bad_configs_are_refused(diff_ids: Any) -> None:
    with pytest.raises(FormatError, match="diff_ids"):
        ImageConfig.parse(json.dumps({"rootfs": {"diff_ids": diff_ids}}).encode())


def test_digests() -> None:
    assert (
        check_digest(digest_of(b""))
        == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert check_digest("sha512:" + "0" * 128)
    for bad in (
        "",
        "sha256",
        "sha256:",
        ":x",
        "sha256:" + "0" * 65,
        "SHA256:" + "0" * 64,
        "a" * 5000,
        "sha256:" + "0" * 63 + "\n",
    ):
        with pytest.raises(FormatError):
            check_digest(bad)
    with pytest.raises(UnsupportedError):
        check_digest("blake3:" + "0" * 64)


def test_layer_media_types() -> None:
    for name, value in vars(MediaType).items():
        if "LAYER" in name or "FOREIGN" in name:
            assert is_layer(value)
            assert is_foreign_layer(value) is ("FOREIGN" in name)
        elif not name.startswith("_"):
            assert not is_layer(value)
