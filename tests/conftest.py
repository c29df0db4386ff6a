"""Markers, and the two promises CI asks for: the wanted build is under test, and required tests do not skip."""

import os
from pathlib import Path

import pytest

MARKERS = {
    "interop": "runs other people's code over our artifacts (needs Go; root, containerd and podman for some)",
    "registry": "runs the real docker-registry on loopback",
    "tools": "runs other people's command line tools (pigz, skopeo, …)",
    "slow": "takes more than a few seconds",
}
# With the variable set to 1, a skip of a test with the marker counts as a failure.
REQUIRED = {
    "interop": "ACCEL_REQUIRE_INTEROP",
    "registry": "ACCEL_REQUIRE_REGISTRY",
    "tools": "ACCEL_REQUIRE_TOOLS",
}


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if wanted := os.environ.get("ACCEL_TEST_BUILD"):
        import accel_core

        have = Path(accel_core.__file__).resolve()
        if not have.is_relative_to(Path(wanted).resolve()):
            raise pytest.UsageError(f"testing {have}, but ACCEL_TEST_BUILD is {wanted}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        for marker, variable in REQUIRED.items():
            if os.environ.get(variable) == "1" and item.get_closest_marker(marker):
                report.outcome = "failed"
                report.longrepr = f"{variable}=1, but this test skipped: {report.longrepr}"
    return report
