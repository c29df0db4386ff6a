"""Platforms compare as containerd compares them."""

import pytest

from accel.errors import FormatError
from accel.oci import Platform


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        # containerd, platforms_test.go TestParseSelector and TestNormalize
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("Linux/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/i386", "linux/386"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("macOS/arm64", "darwin/arm64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("arm64", "linux/arm64"),
        ("x86_64", "linux/amd64"),
    ],
)
def test_spellings_are_folded(text: str, normalized: str) -> None:
    platform = Platform.parse(text)
    assert str(platform) == normalized
    assert Platform.parse(normalized) == platform


@pytest.mark.parametrize(
    "text", ["", "/", "linux", "linux/", "/amd64", "linux/a/b/c", "li nux/amd64", "linux/a\n", "a"]
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(FormatError, match="not a platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("image", "wanted", "matches"),
    [
        (Platform("linux", "amd64"), "linux/amd64", True),
        (Platform("linux", "arm64", "v8"), "linux/arm64", True),
        (Platform("linux", "arm"), "linux/arm/v7", True),
        (Platform("linux", "arm", "v6"), "linux/arm", False),
        (Platform("linux", "amd64", "v3"), "linux/amd64", False),
        (Platform("windows", "amd64", os_version="10.0.17763.1"), "windows/amd64", True),
        (Platform("windows", "amd64", os_version="10.0.17763.1"), "windows(10.0.17763)/amd64", True),
        (Platform("windows", "amd64", os_version="10.0.177631"), "windows(10.0.17763)/amd64", False),
        (Platform("unknown", "unknown"), "linux/amd64", False),
    ],
)
def test_matching(image: Platform, wanted: str, matches: bool) -> None:
    assert image.matches(Platform.parse(wanted)) is matches


def test_json_fields_are_in_gos_order() -> None:
    platform = Platform("windows", "amd64", "v1", "10.0", ("win32k",))
    assert list(platform.to_json()) == ["architecture", "os", "os.version", "os.features", "variant"]
    assert Platform.from_json(platform.to_json()) == platform
    assert Platform("", "").to_json() == {"architecture": "", "os": ""}


def test_the_host_is_a_linux_machine() -> None:
    assert Platform.parse(str(Platform.host())) == Platform.host()
