"""Rules: which images they cover, what they make of them, and that all processes follow the same ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accel.convert import ConvertOptions
from accel.errors import ConfigError, NotFoundError
from accel.service.database import Database, open_database
from accel.service.model import Recipe
from accel.service.rules import (
    RuleBook,
    check,
    is_own_tag,
    matches,
    options_of,
    recipe_of,
    result_tags,
    why_not,
)
from accel.service.settings import RegistrySettings, RuleSettings, ServiceSettings, StoreSettings

IMAGE = {"registry": "r.example", "repository": "team/sub/app", "tag": "v1.2", "pusher": "ann"}
DIGEST = "sha256:" + "1" * 64


def rule(name: str = "one", **fields: Any) -> RuleSettings:
    return RuleSettings.model_validate({"name": name, **fields})


@pytest.mark.parametrize(
    ("fields", "covered"),
    [
        ({}, True),
        ({"repository": "team/*"}, False),
        ({"repository": "team/*/app"}, True),
        ({"repository": "team/**"}, True),
        ({"repository": "**"}, True),
        ({"repository": "*"}, False),
        ({"repository": "team/su?/app"}, True),
        ({"repository": "team?sub/app"}, False),
        ({"repository": "team/[st]ub/app"}, True),
        ({"repository": "team/[!s]ub/app"}, False),
        ({"repository": "/team/.*/"}, True),
        ({"repository": "/team/"}, False),
        ({"repository": ["other/**", "team/**"]}, True),
        ({"repository": {"include": ["team/**"], "exclude": ["**/app"]}}, False),
        ({"repository": {"exclude": ["other/**"]}}, True),
        ({"namespace": "team/sub"}, True),
        ({"namespace": "team"}, False),
        ({"registry": "*.example"}, True),
        ({"registry": "r-example"}, False),
        ({"tag": "/v[0-9]+\\.[0-9]+/"}, True),
        ({"tag": "v1?2"}, True),
        ({"tag": "v1"}, False),
        ({"tag": "V*"}, False),
        ({"pusher": "ann"}, True),
        ({"pusher": {"exclude": ["ann"]}}, False),
    ],
)
def test_patterns_cover_what_they_say(fields: dict[str, Any], covered: bool) -> None:
    assert matches(rule(**fields), **IMAGE) is covered


def test_a_rule_that_says_nothing_asks_for_what_the_command_does() -> None:
    assert options_of(recipe_of(rule()), 1) == options_of(Recipe(), 1) == ConvertOptions(threads=1)
    assert options_of(recipe_of(rule(mode="full", min_chunk="4KiB")), 1).min_chunk_bytes == 4096


@pytest.mark.parametrize("pusher", ["ann", {"include": ["*"]}, {"exclude": ["bot"]}])
def test_a_rule_about_pushers_covers_nothing_that_nobody_known_pushed(pusher: Any) -> None:
    assert why_not(rule(pusher=pusher), **{**IMAGE, "pusher": None}) == "pusher: not known who pushed it"


def test_a_dot_in_a_glob_is_a_dot_and_a_name_too_long_matches_nothing() -> None:
    assert not matches(rule(tag="v1.2"), **{**IMAGE, "tag": "v1x2"})
    assert not matches(rule(repository="**"), **{**IMAGE, "repository": "a" * 256})


@pytest.mark.parametrize("text", ["/(/", "/[/", "x" * 501, "[z-a]"])
def test_a_pattern_that_is_none_is_refused_by_the_rules_name(text: str) -> None:
    with pytest.raises(ConfigError, match="rule 'one', tag: "):
        check(rule(tag=text))


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "sideways"},
        {"platforms": ["no platform at all/x/y/z"]},
        {"prefetch": ["etc/passwd"]},
        {"level": "extreme"},
        {"tag_template": "{tag}"},
        {"tag_template": "fast"},
        {"tag_template": "{tag}-{tag}"},
        {"tag_template": "{tag}-{digest}"},
        {"tag_template": "{tag}/x"},
        {"tag_template": "-{tag}"},
    ],
)
def test_a_recipe_that_cannot_be_followed_names_the_rule(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rule 'one'"):
        recipe_of(rule(**fields))


def test_tags_follow_the_template_up_to_what_registries_take() -> None:
    assert result_tags(recipe_of(rule()), "v1") == ("v1_accelerated",)
    assert result_tags(recipe_of(rule(tag_template="fast-{tag}")), "v1") == ("fast-v1",)
    assert len(result_tags(Recipe(tag="{tag}_x"), "v" * 126)[0]) == 128
    with pytest.raises(ConfigError, match="129 characters"):
        result_tags(Recipe(tag="{tag}_x"), "v" * 127)


@pytest.mark.parametrize(
    ("tag", "own"),
    [
        ("v1", False),
        ("v1_accelerated", True),
        ("v1_accelerated_indexed", True),
        ("v1_containerd_accelerated", True),
        ("_accelerated", False),
        ("fast-v1", True),
        ("fast-", False),
        ("sha256-" + "a" * 64, True),
        ("sha256-" + "a" * 63, False),
        ("sha256-" + "a" * 64 + ".sig", True),
        ("v1.sig", True),
        ("v1.att", True),
        ("v1.sbom", True),
        ("v1.signed", False),
        ("accel-keep-v1", True),
    ],
)
def test_tags_of_results_and_of_no_images_are_known(tag: str, own: bool) -> None:
    assert is_own_tag(["fast-{tag}"], tag) is own


def settings(*rules: RuleSettings) -> ServiceSettings:
    here = RegistrySettings(host="r.example", aliases=("alias.example",))
    return ServiceSettings.model_construct(registries=(here,), rules=rules)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_database(StoreSettings(path=str(tmp_path)))
    yield made
    made.close()


def book(database: Database, *rules: RuleSettings, now: float = 1.0) -> RuleBook:
    return RuleBook(database, settings(*rules), lambda: now)


def names(of: RuleBook) -> list[str]:
    return [stored.rule.name for stored in of.rules()]


def test_rules_of_the_file_are_read_anew_and_stay_switched_off(database: Database) -> None:
    first = book(database, rule("a"), rule("b"))
    first.enable("a", False)
    first.add(rule("c"))
    second = book(database, rule("b"), rule("a", mode="full"))
    assert names(second) == ["b", "a", "c"]
    assert not second.get("a").rule.enabled
    assert second.get("a").rule.mode == "full"
    assert names(book(database)) == ["c"]


def test_rules_are_added_edited_moved_and_removed(database: Database) -> None:
    rules = book(database, rule("file"))
    rules.add(rule("x"))
    rules.add(rule("y"), position=0)
    assert names(rules) == ["y", "file", "x"]
    assert rules.edit("x", rule("x", mode="full")).rule.mode == "full"
    rules.move("x", 1)
    assert names(rules) == ["y", "x", "file"]
    rules.remove("x")
    with pytest.raises(NotFoundError):
        rules.get("x")


def test_what_the_file_says_is_changed_there_only(database: Database) -> None:
    rules = book(database, rule("file"))
    with pytest.raises(ConfigError, match="edit it there"):
        rules.edit("file", rule("file", mode="full"))
    with pytest.raises(ConfigError, match="remove it there"):
        rules.remove("file")
    assert not rules.edit("file", rule("file", enabled=False)).rule.enabled
    with pytest.raises(ConfigError, match="already"):
        rules.add(rule("file"))
    rules.add(rule("mine"))
    with pytest.raises(ConfigError, match="keeps its name"):
        rules.edit("mine", rule("yours"))
    with pytest.raises(ConfigError, match="rename one"):
        book(database, rule("mine"))


def test_servers_see_each_others_changes_though_their_clocks_differ(database: Database) -> None:
    ahead, behind = book(database, now=1000.0), book(database, now=1.0)
    ahead.add(rule("a"))
    ahead.add(rule("b"))
    assert names(behind) == ["a", "b"]
    assert names(ahead) == ["a", "b"]
    behind.edit("a", rule("a", mode="full"))
    assert ahead.get("a").rule.mode == "full"
    behind.edit("a", rule("a", mode="index-only"))
    assert ahead.get("a").rule.mode == "index-only"
    behind.move("b", 0)
    assert names(ahead) == ["b", "a"]


def test_the_first_rule_decides_unless_it_lets_others_follow(database: Database) -> None:
    rules = book(
        database, rule("off", enabled=False), rule("first", more=True), rule("second", mode="full"), rule("third")
    )
    found = rules.decide("r.example", "team/app", "v1", DIGEST, None, "event")
    assert [one.rule for one in found] == ["first", "second"]
    told = rules.explain("alias.example/team/app:v1")
    assert [row["matches"] for row in told["rules"]] == [False, True, True, False]
    assert told["rules"][0]["reason"] == "disabled"
    assert told["rules"][1]["tags"] == ["v1_accelerated"]
    assert told["rules"][3]["reason"] == "an earlier rule covers it"


def test_explaining_warns_of_results_and_of_what_no_rule_covers(database: Database) -> None:
    rules = book(database, rule("a"))
    assert "looks like the tag of a result" in rules.explain("r.example/app:v1_accelerated")["warnings"][0]
    told = rules.explain("elsewhere.example/app:v1")
    assert "not configured" in told["rules"][0]["reason"]
    assert told["warnings"] == ["no rule covers it: nothing would happen"]
