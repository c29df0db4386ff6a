"""Real registries, started once for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.registry_docker import USERS, DockerRegistry
from support.registry_faults import FakeRegistry
from support.registry_tokens import TokenServer


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "registry: runs the real docker-registry on loopback",
        "tools: runs other people's command line tools (pigz, skopeo, …)",
    ):
        config.addinivalue_line("markers", line)


@pytest.fixture
def reg() -> Iterator[FakeRegistry]:
    """An open registry in this process, ready for faults."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """The real docker-registry, open to everyone."""
    with DockerRegistry(_folder(tmp_path_factory, "open")) as registry:
        yield registry


@pytest.fixture(scope="session")
def htpasswd_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """The real docker-registry with two users."""
    with DockerRegistry(_folder(tmp_path_factory, "htpasswd"), users=USERS) as registry:
        yield registry


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    with TokenServer(USERS) as server:
        yield server


@pytest.fixture
def token_registry(tmp_path: Path, token_server: TokenServer) -> Iterator[DockerRegistry]:
    """The real docker-registry that takes tokens of ``token_server``."""
    with DockerRegistry(tmp_path, tokens=token_server) as registry:
        yield registry


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp(f"registry-{name}")
