"""Rules: which images are converted, how, and under which tags."""

from accel.service.rules.book import RuleBook, StoredRule
from accel.service.rules.match import matches, why_not
from accel.service.rules.recipe import check, is_own_tag, options_of, recipe_of, result_tags

__all__ = [
    "RuleBook",
    "StoredRule",
    "check",
    "is_own_tag",
    "matches",
    "options_of",
    "recipe_of",
    "result_tags",
    "why_not",
]
