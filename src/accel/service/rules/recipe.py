"""What a rule wants made, and the names that the results get."""

import re
from collections.abc import Iterable
from functools import lru_cache

from accel.convert import ConvertOptions
from accel.convert.options import FULL, INDEX_ONLY
from accel.convert.targets import ACCELERATED, CONTAINERD_ACCELERATED, INDEXED
from accel.errors import ConfigError, FormatError, ReferenceSyntaxError
from accel.oci import Platform, check_tag
from accel.service.model import Recipe
from accel.service.rules.match import check_patterns
from accel.service.settings import RuleSettings

_MAX_TAG = 128  # distribution-spec: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
# What other tools put beside an image: referrers fallback tags, cosign's signatures, and our own keep-tags.
_NO_IMAGE = re.compile(r"sha256-[0-9a-f]{64}(\..*)?|.*\.(sig|att|sbom)|accel-keep-.*")
_PLACE = re.compile(r"\{([a-z]*)\}")


def check(rule: RuleSettings) -> None:
    """Raises ConfigError for a rule whose patterns are none, or whose recipe cannot be followed."""
    check_patterns(rule)
    recipe_of(rule)


@lru_cache(maxsize=1024)  # every event asks for the same few
def recipe_of(rule: RuleSettings) -> Recipe:
    """The recipe of a rule. Raises ConfigError for one that cannot be followed."""
    default = CONTAINERD_ACCELERATED if rule.containerd_only else ACCELERATED
    recipe = Recipe(
        mode=rule.mode,
        format=rule.format,
        platforms=rule.platforms,
        referrers=rule.referrers,
        containerd_only=rule.containerd_only,
        level=rule.level,
        prefetch=rule.prefetch,
        min_chunk_bytes=rule.min_chunk,
        min_layer_bytes=rule.min_layer,
        max_layer_bytes=rule.max_layer,
        min_image_bytes=rule.min_image,
        max_image_bytes=rule.max_image,
        tag=rule.tag_template or "{tag}" + default,
    )
    try:
        options_of(recipe, 1)
        _check_template(recipe.tag)
    except ConfigError as error:
        raise ConfigError(f"rule {rule.name!r}: {error}") from None
    return recipe


def options_of(recipe: Recipe, threads: int) -> ConvertOptions:
    """The options of the conversion. Raises ConfigError."""
    try:
        platforms = tuple(Platform.parse(text) for text in recipe.platforms)
    except FormatError as error:
        raise ConfigError(str(error)) from error
    for path in recipe.prefetch:
        if not path.startswith("/"):
            raise ConfigError(f"prefetch: {path[:200]!r} is no absolute path")
    return ConvertOptions(
        mode=recipe.mode,
        format=recipe.format,
        platforms=platforms,
        referrers=recipe.referrers,
        containerd_only=recipe.containerd_only,
        level=recipe.level,
        prefetch=tuple(path.encode() for path in recipe.prefetch),
        min_chunk_bytes=recipe.min_chunk_bytes,
        min_layer_bytes=recipe.min_layer_bytes,
        threads=threads,
    )


def result_tags(recipe: Recipe, tag: str) -> tuple[str, ...]:
    """The tags of the results for a source's ``tag``; the second is that of an index made beside a full result.

    Raises ConfigError for one that no registry takes.
    """
    result = recipe.tag.replace("{tag}", tag)
    found = (result, result + INDEXED) if {FULL, INDEX_ONLY} <= set(recipe.mode.split(",")) else (result,)
    for one in found:
        if len(one) > _MAX_TAG:
            raise ConfigError(f"the tag {one!r} would have {len(one)} characters, more than {_MAX_TAG}")
        try:
            check_tag(one)
        except ReferenceSyntaxError as error:
            raise ConfigError(f"the tag {one!r} would be none: {error}") from None
    return found


def is_own_tag(templates: Iterable[str], tag: str) -> bool:
    """Whether a tag looks like that of a result, or of what tools keep beside images: no image to convert."""
    if _NO_IMAGE.fullmatch(tag):
        return True
    plain = tag.removesuffix(INDEXED)
    usual = ("{tag}" + ACCELERATED, "{tag}" + CONTAINERD_ACCELERATED)
    return any(_looks_made(template, one) for template in (*usual, *templates) for one in {tag, plain})


def _looks_made(template: str, tag: str) -> bool:
    before, _, after = template.partition("{tag}")
    return len(tag) > len(before) + len(after) and tag.startswith(before) and tag.endswith(after)


def _check_template(template: str) -> None:
    if _PLACE.findall(template) != ["tag"] or template == "{tag}":
        raise ConfigError(f"tag_template {template!r} must have {{tag}} once, and something beside it")
    result_tags(Recipe(tag=template), "v")
