"""Stage accounting: differences of scans, round by round."""

import gzip
from pathlib import Path

import pytest

from accel.bench import file_layer
from accel.bench.contenders import BARE, DIFF_ID, FULL, LAYER_DIGEST, SCAN, SPAN_DIGESTS, scan
from accel.bench.stages import CRC_ALONE, TAR_ALONE, Clock, stage_calls, stages, tar_sample
from accel.bench.timing import Sample
from support.images import random_tar

TAR = random_tar(3, 30, 20_000)
N = 1_000_000


def taken(*ns_per_byte: float, cycles: float | None = None) -> list[Sample]:
    return [
        Sample(ns * N / 1e9, 0.0, None if cycles is None else round(cycles * ns * N)) for ns in ns_per_byte
    ]


def samples(**more: object) -> dict[str, list[Sample]]:
    made = {
        BARE: taken(2.0, 3.0, 4.0),
        CRC_ALONE: taken(0.1, 0.1, 0.1),
        TAR_ALONE: taken(0.2, 0.2, 0.2),
        FULL: taken(2.5, 3.5, 4.5),
        SCAN: taken(2.4, 3.6, 4.6),
        SPAN_DIGESTS: taken(3.4, 4.6, 5.6),
    }
    return {**made, **more}  # type: ignore[dict-item]


def test_stages_are_differences_round_by_round() -> None:
    found = stages(samples(), dict.fromkeys(samples(), N), Clock(counted=False, ghz=2.0))
    assert {stage.name: stage.ns_per_byte for stage in found} == pytest.approx(
        {
            "inflate": 2.7,  # the machine became slower from round to round; the differences did not
            "CRC-32": 0.1,
            "tar entries": 0.2,
            "checkpoints": 0.5,
            "sparse windows": 0.1,
            "span digests": 1.0,
        },
        abs=1e-4,
    )
    assert all(stage.cycles_per_byte == pytest.approx(2 * stage.ns_per_byte, abs=1e-3) for stage in found)
    assert not next(stage for stage in found if stage.name == "sparse windows").is_certain
    assert next(stage for stage in found if stage.name == "checkpoints").is_certain
    assert all(stage.how for stage in found)


def test_counted_cycles_are_taken_before_estimated_ones() -> None:
    counted = {name: taken(1.0, 1.0, cycles=3.0) for name in (BARE, FULL, CRC_ALONE, TAR_ALONE)}
    counted[FULL] = taken(1.5, 1.5, cycles=3.0)
    found = stages(counted, dict.fromkeys(counted, N), Clock(counted=True, ghz=2.0))
    assert next(stage for stage in found if stage.name == "checkpoints").cycles_per_byte == pytest.approx(1.5)


def test_without_a_frequency_there_are_no_cycles() -> None:
    found = stages(samples(), dict.fromkeys(samples(), N), Clock(counted=False, ghz=None))
    assert found and {stage.cycles_per_byte for stage in found} == {None}


def test_stages_that_were_not_measured_are_left_out() -> None:
    some = {SCAN: taken(1.0), SPAN_DIGESTS: taken(2.0), LAYER_DIGEST: taken(2.5), DIFF_ID: taken(4.0)}
    found = stages(some, dict.fromkeys(some, N), Clock(False, 2.0))
    assert [stage.name for stage in found] == ["span digests", "layer digest", "diffID"]
    assert [stage.ns_per_byte for stage in found] == pytest.approx([1.0, 0.5, 1.5])


@pytest.mark.parametrize("member_bytes", [len(TAR), 50_000])
def test_the_sample_of_the_tar_is_its_beginning(member_bytes: int) -> None:
    parts = [gzip.compress(TAR[i : i + member_bytes], mtime=0) for i in range(0, len(TAR), member_bytes)]
    assert bytes(tar_sample(memoryview(b"".join(parts)))) == TAR


def test_kernels_alone_cover_the_bytes_they_claim(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(gzip.compress(TAR, mtime=0))
    calls, n_bytes = stage_calls(file_layer(tmp_path / "layer"))
    for call in calls.values():
        call()
    assert calls.keys() == n_bytes.keys() == {CRC_ALONE, TAR_ALONE}
    assert n_bytes[TAR_ALONE] == len(TAR)


def test_every_scan_of_the_bench_finds_the_same_layer() -> None:
    blob = gzip.compress(TAR, mtime=0)
    found = [
        scan(blob),
        scan(blob, sparse_windows=False),
        scan(blob, span_bytes=1 << 40),
        scan(blob, implementation="plain"),
        scan(blob, span_digests=True, digest=True, diff_id=True),
    ]
    assert {len(index.entries) for index in found} == {32} and {index.uncomp_size for index in found} == {
        len(TAR)
    }
    assert len(found[2].checkpoints) == 1 and found[4].diff_id
    assert [bool(index.span_digests) for index in found] == [False] * 4 + [True]
    assert bytes(found[0].checkpoints.windows) <= bytes(found[1].checkpoints.windows)  # sparse: zeros in places
