"""Images by the reference writers, in our reader and converter."""

from pathlib import Path

import pytest

import accel
from accel.convert import ConvertOptions
from accel.layout import LayoutStore
from support.full_images import reference_image
from support.images import directory, file, put, tar_of
from support.stargz_interop import Stargz
from support.storage_interop import Storage

pytestmark = pytest.mark.interop

CONTENT = bytes(range(256)) * 40_000  # three chunks
TARS = [tar_of(directory("etc"), file("etc/motd", b"hello"), file("big", CONTENT)), tar_of(file("top", b"top"))]


@pytest.fixture
def reference(stargz: Stargz, storage: Storage, tmp_path: Path) -> str:
    put(LayoutStore(tmp_path / "in"), reference_image(TARS, stargz, storage).index, "v1")
    return f"oci:{tmp_path}/in:v1"


def test_we_verify_and_read_them(reference: str) -> None:
    assert accel.verify(reference).ok
    with accel.open_image(reference) as opened:
        assert b"".join(opened.cat("etc/motd")) == b"hello"
        assert b"".join(opened.cat("big")) == CONTENT
        assert b"".join(opened.cat("top")) == b"top"


def test_we_convert_them_and_the_files_stay(reference: str, tmp_path: Path) -> None:
    dest = f"oci:{tmp_path}/out:v1"
    accel.convert(reference, dest, ConvertOptions(mode="full"))
    assert accel.verify(dest).ok
    with accel.open_image(dest) as opened:
        assert b"".join(opened.cat("big")) == CONTENT
