"""JSON from strangers, and JSON as Go writes it."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.errors import AccelError, FormatError, LimitError
from accel.oci import canonical_json, parse_json, sorted_map

GO_PROGRAM = Path(__file__).parents[1] / "interop" / "json"
BROKEN_UTF8 = st.lists(st.sampled_from([b"a", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xf0\x9f"])).map(b"".join)
EDGES = st.sampled_from([1e21, 1e20, 1e-6, 1e-7, -0.0, 9.9e-7, 123456789.0])
Encoder = Callable[[Iterable[tuple[str, bytes]]], list[bytes]]


@pytest.fixture(scope="session")
def go_encode(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Go's encoding of (kind, bytes) cases; see tests/interop/json/main.go."""
    if not (go := shutil.which("go")):
        pytest.skip("go is not installed")
    program = tmp_path_factory.mktemp("go") / "encode"
    environ = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=mod"}
    subprocess.run([go, "build", "-o", program, "."], cwd=GO_PROGRAM, env=environ, check=True, timeout=240)

    def encode(cases: Iterable[tuple[str, bytes]]) -> list[bytes]:
        lines = b"".join(f"{kind} ".encode() + base64.b64encode(data) + b"\n" for kind, data in cases)
        run = subprocess.run([program], input=lines, capture_output=True, check=True, timeout=60)
        return run.stdout.split(b"\n")[:-1]

    return encode


@pytest.mark.interop
def test_every_character_is_written_as_go_writes_it(go_encode: Encoder) -> None:
    texts = [chr(code) for code in range(0x3000)] + ["\ufeff", "\ufffd", "\uffff", "\U0001f600", "\U0010ffff"]
    for text, theirs in zip(texts, go_encode(("s", t.encode()) for t in texts), strict=True):
        assert canonical_json(text) == theirs, repr(text)


@pytest.mark.interop
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.text() | st.text('<>&"\\/\u2028\u2029\x00\x08\x0c\x1f\x7fé'), min_size=50, max_size=200))
def test_strings_are_written_as_go_writes_them(go_encode: Encoder, texts: list[str]) -> None:
    assert [canonical_json(t) for t in texts] == go_encode(("s", t.encode()) for t in texts)


@pytest.mark.interop
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.binary() | BROKEN_UTF8, min_size=50, max_size=200))
def test_bytes_that_are_not_utf8_are_written_as_go_writes_them(
    go_encode: Encoder, texts: list[bytes]
) -> None:
    ours = [canonical_json(t.decode("utf-8", "surrogateescape")) for t in texts]
    assert ours == go_encode(("s", t) for t in texts)


@pytest.mark.interop
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=10), min_size=20))
def test_maps_are_ordered_as_go_orders_them(go_encode: Encoder, maps: list[dict[str, str]]) -> None:
    assert [canonical_json(sorted_map(m)) for m in maps] == go_encode(
        ("m", json.dumps(m).encode()) for m in maps
    )


@pytest.mark.interop
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | EDGES, min_size=100))
def test_numbers_are_written_as_go_writes_them(go_encode: Encoder, numbers: list[float]) -> None:
    assert [canonical_json(n) for n in numbers] == go_encode(("f", repr(n).encode()) for n in numbers)


def test_structure_has_no_white_space_and_keeps_the_callers_order() -> None:
    value: object = {"b": [1, -2, 2**70, True, False, None, [], {}], "a": {"y": "", "x": ("t",)}}
    wanted = b'{"b":[1,-2,1180591620717411303424,true,false,null,[],{}],"a":{"y":"","x":["t"]}}'
    assert canonical_json(value) == wanted
    assert json.loads(wanted) == json.loads(json.dumps(value))


@pytest.mark.parametrize("value", [{1: "x"}, b"bytes", {"a", "b"}, object(), float("nan"), float("inf")])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{} x", "not valid JSON"),
        (b'{"a":1,"a":1}', "duplicate key 'a'"),
        (b'{"b":[{"a":1,"x":2,"a":3}]}', "duplicate key 'a'"),
        (b'{"a":NaN}', "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "too large"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"\\udfff":1}', "surrogate"),
        (b"[" * 66 + b"]" * 66, "deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "deep"),
        (b"[" * 500_000, "deep"),
        (b'{"a":' * 500_000, "deep"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
    ],
)
def test_bad_json_is_a_format_error_that_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_json(raw, "thing")


def test_nesting_and_size_are_allowed_up_to_the_limit() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64, "thing")
    assert parse_json(b'"1234"', "thing", max_bytes=6) == "1234"
    with pytest.raises(LimitError, match="thing has 7 bytes"):
        parse_json(b'"12345"', "thing", max_bytes=6)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.text('{}[]",:0123456789eE+-.\\u tfalsn', max_size=60).map(str.encode))
def test_any_bytes_are_read_as_python_reads_them_or_refused(raw: bytes) -> None:
    try:
        value = parse_json(raw, "thing")
    except AccelError:
        return
    assert value == json.loads(raw)
    assert parse_json(canonical_json(value), "thing") == value
