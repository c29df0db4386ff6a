"""Interop tests run other people's programs; ACCEL_REQUIRE_INTEROP=1 makes a missing one a failure."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.go_programs import build_program
from support.registry_docker import DockerRegistry
from support.soci_interop import Soci
from support.stargz_interop import Stargz
from support.storage_interop import Storage


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "interop: runs other people's code over our artifacts (needs Go; root, containerd and podman for some)",
    )


@pytest.fixture(scope="session")
def soci_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program("soci", tmp_path_factory.mktemp("soci"), cgo=True)


@pytest.fixture
def soci(soci_program: Path, tmp_path: Path) -> Soci:
    return Soci(soci_program, tmp_path)


@pytest.fixture(scope="session")
def stargz_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program("stargz", tmp_path_factory.mktemp("stargz"))


@pytest.fixture
def stargz(stargz_program: Path, tmp_path: Path) -> Stargz:
    return Stargz(stargz_program, tmp_path)


@pytest.fixture(scope="session")
def storage_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program("storage", tmp_path_factory.mktemp("storage"))


@pytest.fixture
def storage(storage_program: Path, tmp_path: Path) -> Storage:
    return Storage(storage_program, tmp_path)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running
