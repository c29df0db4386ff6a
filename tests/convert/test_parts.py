"""A conversion in parts gives the very image that one in a piece gives, and each layer is read once for all."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from accel.convert import ConvertOptions, convert
from accel.convert.parts import (
    ImagePlan,
    LayerResult,
    LayerWorkers,
    MissingResult,
    PlannedLayer,
    assemble,
    convert_layer,
    estimate,
    layer_key,
    plan_image,
)
from accel.errors import DigestMismatch, RegistryError
from accel.oci import Platform, Reference
from accel.progress import NoProgress
from accel.registry import RegistryStore
from support.images import (
    EMPTY_LAYER,
    Built,
    attestation_of,
    file,
    gzip_layer,
    image,
    index,
    layer_of,
    plain_layer,
    put,
    random_tar,
    tar_of,
)
from support.registry_faults import FakeRegistry
from support.registry_server import Answer

BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello")))
PLAIN = plain_layer(random_tar(3, 9, 3000))
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

MODES = {
    "index-only": ConvertOptions(min_layer_bytes=0, threads=2),
    "full": ConvertOptions(mode="full", threads=2),
    "estargz": ConvertOptions(mode="full", format="estargz", threads=2, prefetch=(b"/etc/motd",)),
    "containerd": ConvertOptions(mode="full", containerd_only=True, threads=2, level="3"),
    "both": ConvertOptions(mode="index-only,full", min_layer_bytes=0, threads=2),
}


def two_platforms() -> Built:
    amd64 = image([BASE, TOP], platform="linux/amd64")
    arm64 = image([BASE, PLAIN, EMPTY_LAYER], platform="linux/arm64/v8")
    return index([amd64, arm64, attestation_of(amd64)])


class Keeper:
    """Makes layers as a service would: each key once, results through JSON."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.results: dict[str, dict[str, Any]] = {}
        self.places: dict[str, list[str]] = {}
        self.n_made = 0

    def store(self, name: str) -> RegistryStore:
        return RegistryStore(f"{self.registry.host}/{name}:v1", self.registry.options())

    def make(self, plan: ImagePlan, name: str, options: ConvertOptions) -> None:
        with LayerWorkers(2) as workers:
            store = self.store(name)
            for layer in plan.layers:
                missing = [output for output, key in layer.keys.items() if key not in self.results]
                if not missing:
                    continue
                made = convert_layer(store, store, layer.descriptor, missing, options, NoProgress(), workers)
                for output, result in made.items():
                    self.n_made += 1
                    self.results[layer.keys[output]] = json.loads(json.dumps(result.to_json()))
                    self.places.setdefault(layer.keys[output], []).append(name)
            store.close()

    def assemble(self, name: str, options: ConvertOptions) -> dict[str, str]:
        """Digest of the result by mode; each is tagged v1_MODE."""
        store = self.store(name)
        reference = Reference.parse(f"docker://{self.registry.host}/{name}:v1")
        target = reference.with_tag("v1_accelerated")
        results = {key: LayerResult.from_json(result) for key, result in self.results.items()}
        done = assemble(
            store,
            store,
            reference,
            target,
            options,
            results,
            lambda key: (self.store(place) for place in self.places[key]),
        )
        digests = {}
        for mode, one in done.items():
            assert one.raw is not None and one.descriptor is not None
            store.put_manifest(one.raw, one.descriptor.media_type, tag=f"v1_{mode}")
            digests[mode] = one.descriptor.digest
        store.close()
        return digests


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def keeper(registry: FakeRegistry) -> Keeper:
    return Keeper(registry)


def push(registry: FakeRegistry, name: str, built: Built) -> RegistryStore:
    store = RegistryStore(f"{registry.host}/{name}:v1", registry.options())
    put(store, built, tag="v1")
    return store


@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
def test_the_parts_give_the_image_that_one_piece_gives(
    registry: FakeRegistry, keeper: Keeper, options: ConvertOptions
) -> None:
    store = push(registry, "app", two_platforms())
    whole = convert(
        f"{registry.host}/app:v1", f"{registry.host}/whole:v1", options, registries=registry.options()
    )
    plan = plan_image(store, "v1", options)
    keeper.make(plan, "app", options)
    digests = keeper.assemble("app", options)
    expected = {options.modes[-1]: whole.digest}
    if whole.index_only is not None:
        expected = {"full": whole.digest, "index-only": whole.index_only.digest}
    assert digests == expected
    assert plan.comp_size == sum(
        layer.descriptor.size for layer in {x.descriptor.digest: x for x in (BASE, TOP, PLAIN, EMPTY_LAYER)}.values()
    )


@pytest.mark.parametrize("mode", ["index-only", "full", "both"])
def test_nothing_is_made_twice_for_another_repository_but_mounted(
    registry: FakeRegistry, keeper: Keeper, mode: str
) -> None:
    options = MODES[mode]
    first = push(registry, "app", two_platforms())
    keeper.make(plan_image(first, "v1", options), "app", options)
    before = keeper.n_made
    other = push(registry, "other", image([BASE, TOP], platform="linux/amd64"))
    plan = plan_image(other, "v1", options)
    keeper.make(plan, "other", options)
    assert keeper.n_made == before
    keeper.assemble("other", options)
    asked = registry.seen("POST", "mount=")
    assert asked and all(request.status == 201 for request in asked)


def test_both_modes_share_their_results_with_those_that_want_one(
    registry: FakeRegistry, keeper: Keeper
) -> None:
    store = push(registry, "app", two_platforms())
    both = plan_image(store, "v1", MODES["both"])
    keeper.make(both, "app", MODES["both"])
    before = keeper.n_made
    for mode in ("index-only", "full"):
        keeper.make(plan_image(store, "v1", MODES[mode]), "app", MODES[mode])
        keeper.assemble("app", MODES[mode])
    assert keeper.n_made == before


def test_lost_blobs_are_named_so_that_they_can_be_made_again(registry: FakeRegistry, keeper: Keeper) -> None:
    options = MODES["index-only"]
    store = push(registry, "app", two_platforms())
    plan = plan_image(store, "v1", options)
    keeper.make(plan, "app", options)
    lost = next(key for key in keeper.results if key.startswith(BASE.descriptor.digest))
    keeper.results[lost]["blob"]["digest"] = "sha256:" + "0" * 64
    with pytest.raises(MissingResult) as caught:
        keeper.assemble("app", options)
    assert caught.value.keys == (lost,)


def test_a_layer_that_cannot_be_indexed_is_a_result_and_not_read_again(
    registry: FakeRegistry, keeper: Keeper
) -> None:
    options = MODES["index-only"]
    broken = layer_of(BASE.data[:-30], BASE.descriptor.media_type, BASE.diff_id)
    store = push(registry, "app", image([broken, TOP], platform="linux/amd64"))
    plan = plan_image(store, "v1", options)
    keeper.make(plan, "app", options)
    states = {result["row"]["state"] for result in keeper.results.values()}
    assert states == {"failed", "indexed"}
    keeper.assemble("app", options)
    keeper.make(plan, "app", options)
    assert keeper.n_made == 2


def test_a_broken_transfer_is_no_bad_layer(registry: FakeRegistry, keeper: Keeper) -> None:
    store = push(registry, "app", image([BASE], platform="linux/amd64"))

    def flip(answer: Answer) -> Answer:
        answer.body = answer.body[:5000] + bytes([answer.body[5000] ^ 4]) + answer.body[5001:]
        return answer

    registry.fail_next("GET", f"/blobs/{BASE.descriptor.digest}", edit=flip)
    keeper.make(plan_image(store, "v1", MODES["index-only"]), "app", MODES["index-only"])
    assert {result["row"]["state"] for result in keeper.results.values()} == {"indexed"}


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("mode", ["index-only", "full"])
def test_an_image_that_lies_about_a_size_spoils_nothing_for_others(
    registry: FakeRegistry, keeper: Keeper, mode: str, change: int
) -> None:
    options = MODES[mode]
    honest = push(registry, "app", image([BASE], platform="linux/amd64"))
    (layer,) = plan_image(honest, "v1", options).layers
    lying = replace(layer.descriptor, size=layer.descriptor.size + change)
    plan = ImagePlan("", 0, (PlannedLayer(lying, {one: layer_key(lying, one, options) for one in layer.keys}),))
    with pytest.raises((DigestMismatch, RegistryError)):
        keeper.make(plan, "app", options)
    keeper.make(plan_image(honest, "v1", options), "app", options)
    assert {result["row"]["state"] for result in keeper.results.values()} <= {"indexed", "converted"}
    keeper.assemble("app", options)


def test_an_image_without_the_platforms_asked_for_says_so(registry: FakeRegistry) -> None:
    store = push(registry, "app", image([BASE], platform="linux/amd64"))
    plan = plan_image(store, "v1", replace(MODES["full"], platforms=(Platform.parse("linux/arm64"),)))
    assert plan.reason == "no image for linux/arm64"


def test_an_image_with_nothing_to_index_says_why(registry: FakeRegistry) -> None:
    zstd = layer_of(b"\x28\xb5\x2f\xfd" + bytes(100), ZSTD)
    store = push(registry, "app", image([zstd], platform="linux/amd64"))
    plan = plan_image(store, "v1", MODES["index-only"])
    assert plan.layers == () and plan.reason.startswith("unsupported: ")


def test_a_result_is_not_converted_again(registry: FakeRegistry) -> None:
    push(registry, "app", two_platforms())
    for options in (MODES["index-only"], MODES["full"]):
        convert(f"{registry.host}/app:v1", options=replace(options, force=True), registries=registry.options())
        store = RegistryStore(f"{registry.host}/app:v1_accelerated", registry.options())
        plan = plan_image(store, "v1_accelerated", options)
        assert "result of a conversion" in plan.reason
        store.close()


def test_more_outputs_of_a_larger_layer_need_no_less_room() -> None:
    options = MODES["both"]
    small, large = BASE.descriptor, replace(BASE.descriptor, size=1 << 30)
    outputs = ["soci", "estargz", "zstd-chunked"]
    for n in range(1, 4):
        assert estimate(small, outputs[:n], options) <= estimate(large, outputs[:n], options)
        assert estimate(large, outputs[: n - 1], options) <= estimate(large, outputs[:n], options)
    assert estimate(large, ["soci"], options)[1] < large.size // 5


def test_no_threads_are_left() -> None:
    before = threading.active_count()
    with LayerWorkers(2) as workers:
        workers.scan.submit(int).result()
    assert threading.active_count() == before
