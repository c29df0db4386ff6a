"""WWW-Authenticate headers and token scopes."""

import pytest

from accel.errors import RegistryError
from accel.registry.challenge import Scope, covers, merge, parse_challenges, parse_scopes


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (['Basic realm="a, b \\"c\\""'], [("basic", {"realm": 'a, b "c"'})]),
        (
            ['Bearer realm="https://auth/token",service="s",scope="repository:x:pull,push"'],
            [("bearer", {"realm": "https://auth/token", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        # no service (nvcr.io), blanks, unquoted values, mixed case
        (["BEARER Realm = https , scope=abc"], [("bearer", {"realm": "https", "scope": "abc"})]),
        (['Bearer realm="a", Basic realm="b"'], [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        (['Negotiate, Basic realm="b"'], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (['Negotiate YWJj==, Basic realm="b"'], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (["Negotiate", 'Basic realm="b"'], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (['Bearer realm="a",error="invalid_token"'], [("bearer", {"realm": "a", "error": "invalid_token"})]),
        # the first of two values counts
        (['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})]),
        ([""], []),
        ([",,,"], []),
        (["="], []),
        (['Bearer realm="never closed'], [("bearer", {})]),
        (["B" * 9000], []),
    ],
)
def test_challenges_are_parsed(headers, wanted):
    assert [(c.scheme, c.parameters) for c in parse_challenges(headers) if c.scheme in dict(wanted)] == wanted


@pytest.mark.parametrize("text", ['"' * 8000, "a=" * 4000, "a " * 4000, 'a="\\' * 1500, "\x00\xff", "é à"])
def test_garbage_neither_raises_nor_takes_long(text):
    parse_challenges([text])


def test_scopes_keep_colons_in_names_and_sort_actions():
    (scope,) = parse_scopes("repository:host:5000/x:push,pull")
    assert scope == Scope("repository", "host:5000/x", frozenset({"pull", "push"}))
    assert str(scope) == "repository:host:5000/x:pull,push"
    assert parse_scopes("registry:catalog:*")[0].name == "catalog"


@pytest.mark.parametrize("text", ["x", "a:b", ":b:c", "a::", " ".join(["a:b:c"] * 17)])
def test_malformed_scopes_are_refused(text):
    with pytest.raises(RegistryError):
        parse_scopes(text)


def test_merging_puts_the_first_first_and_joins_actions():
    a, b = Scope.repository("a", "pull"), Scope.repository("b", "pull")
    merged = merge((b,), (a, Scope.repository("b", "push")))
    assert merged == (Scope.repository("b", "pull", "push"), a)
    assert covers(merged, (a,)) and covers(merged, (b,)) and covers((a,), ())
    assert not covers((a,), merged)
    assert covers((Scope.repository("a", "*"),), (a,))
