"""Interop tests run other people's programs; ACCEL_REQUIRE_INTEROP=1 makes a missing one a failure."""

from pathlib import Path

import pytest

from support.soci_interop import Soci, build_program


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interop: runs someone else's code over our files (needs Go)")


@pytest.fixture(scope="session")
def soci_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program(tmp_path_factory.mktemp("soci"))


@pytest.fixture
def soci(soci_program: Path, tmp_path: Path) -> Soci:
    return Soci(soci_program, tmp_path)
