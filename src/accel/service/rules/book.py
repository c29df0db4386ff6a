"""The rules there are: from the configuration file, and those that people added at run time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from accel.errors import ConfigError, NotFoundError
from accel.oci import Reference
from accel.service.database import Database, rules
from accel.service.model import Origin, Wanted
from accel.service.rules.match import why_not
from accel.service.rules.recipe import check, is_own_tag, recipe_of, result_tags
from accel.service.settings import RuleSettings, ServiceSettings

Json = dict[str, Any]
_FILE, _API = "file", "api"


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule, where it comes from ("file" or "api"), and its place in the order."""

    rule: RuleSettings
    origin: str
    position: int


class RuleBook:
    """The rules in their order, the same for all processes on the database."""

    def __init__(self, database: Database, settings: ServiceSettings, now: Callable[[], float]) -> None:
        self._database = database
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._seen: object = None
        self._rules: tuple[StoredRule, ...] = ()
        self._held = threading.local()
        self._load_file()

    def _load_file(self) -> None:
        """Write the file's rules anew, before those that were added; what was switched on or off stays so."""
        for rule in self._settings.rules:
            check(rule)
        with self._database.write() as connection:
            found = connection.execute(sa.select(rules)).mappings()
            known: dict[str, Json] = {row["name"]: dict(row) for row in found}
            for rule in self._settings.rules:
                if known.get(rule.name, {}).get("origin") == _API:
                    raise ConfigError(f"rule {rule.name!r} of the file was added at run time too: rename one")
            connection.execute(rules.delete().where(rules.c.origin == _FILE))
            for position, rule in enumerate(self._settings.rules):
                switched = known.get(rule.name, {}).get("spec", {}).get("switched")
                self._insert(connection, rule, _FILE, position - len(self._settings.rules), switched)

    def rules(self) -> tuple[StoredRule, ...]:
        """All rules in their order, as they are now."""
        held: tuple[StoredRule, ...] | None = getattr(self._held, "rules", None)
        if held is not None:
            return held
        with self._lock, self._database.read() as connection:
            found = connection.execute(sa.select(rules).order_by(rules.c.position, rules.c.name)).mappings().all()
            if found != self._seen:  # compared whole: the clocks of several servers differ
                self._rules = tuple(_stored(row) for row in found)
                self._seen = found
            return self._rules

    @contextmanager
    def held(self) -> Iterator[None]:
        """Until its end this thread sees the rules as they are at its start: for many decisions in a row."""
        self._held.rules = self.rules()
        try:
            yield
        finally:
            self._held.rules = None

    def get(self, name: str) -> StoredRule:
        """The rule of that name. Raises NotFoundError."""
        found = next((stored for stored in self.rules() if stored.rule.name == name), None)
        if found is None:
            raise NotFoundError(f"no rule {name!r}")
        return found

    def add(self, rule: RuleSettings, position: int | None = None) -> StoredRule:
        """Add a rule, at the end or before the one that is at ``position`` now. Raises ConfigError."""
        check(rule)
        order = [stored.rule.name for stored in self.rules()]
        if rule.name in order:
            raise ConfigError(f"there is a rule {rule.name!r} already")
        with self._database.write() as connection:
            last = connection.scalar(sa.select(sa.func.max(rules.c.position)))
            self._insert(connection, rule, _API, (last if last is not None else -1) + 1)
        if position is not None:
            self.move(rule.name, position)
        return self.get(rule.name)

    def edit(self, name: str, rule: RuleSettings) -> StoredRule:
        """Replace a rule that was added at run time; of the file's, only ``enabled`` may differ. ConfigError else."""
        stored = self.get(name)
        if stored.origin == _FILE:
            if rule.model_copy(update={"enabled": stored.rule.enabled}) != stored.rule:
                raise ConfigError(f"rule {name!r} is in the configuration file: edit it there")
            return self.enable(name, rule.enabled)
        if rule.name != name:
            raise ConfigError("a rule keeps its name")
        check(rule)
        self._update(name, spec=_spec(rule))
        return self.get(name)

    def enable(self, name: str, enabled: bool) -> StoredRule:
        """Switch a rule on or off, for good."""
        stored = self.get(name)
        changed = stored.rule.model_copy(update={"enabled": enabled})
        self._update(name, spec={**_spec(changed), "switched": enabled})
        return self.get(name)

    def remove(self, name: str) -> None:
        """Forget a rule that was added at run time. ConfigError for one of the file."""
        if self.get(name).origin == _FILE:
            raise ConfigError(f"rule {name!r} is in the configuration file: remove it there, or disable it")
        with self._database.write() as connection:
            connection.execute(rules.delete().where(rules.c.name == name))

    def move(self, name: str, position: int) -> None:
        """Have a rule tried as the ``position``-th, counted from 0."""
        order = [stored.rule.name for stored in self.rules()]
        if name not in order:
            raise NotFoundError(f"no rule {name!r}")
        order.remove(name)
        order.insert(max(0, min(position, len(order))), name)
        with self._database.write() as connection:
            for place, one in enumerate(order):
                connection.execute(
                    rules.update().where(rules.c.name == one).values(position=place, updated_at=self._now())
                )

    def is_own_tag(self, tag: str) -> bool:
        """Whether a tag looks like that of a result of some rule, or of no image at all."""
        templates = [stored.rule.tag_template for stored in self.rules() if stored.rule.tag_template]
        return is_own_tag(templates, tag)

    def decide(
        self, registry: str, repository: str, tag: str, digest: str, pusher: str | None, origin: Origin
    ) -> list[Wanted]:
        """What the rules want made of an image: by the first that covers it, and those after it that it lets through.

        Raises ConfigError if a result's tag would be none.
        """
        found: list[Wanted] = []
        for stored in self.rules():
            rule = stored.rule
            about = {"registry": registry, "repository": repository, "tag": tag, "pusher": pusher}
            if not rule.enabled or why_not(rule, **about):  # type: ignore[arg-type]
                continue
            recipe = recipe_of(rule)
            result_tags(recipe, tag)
            found.append(Wanted(registry, repository, tag, digest, rule.name, recipe, origin, pusher))
            if not rule.more:
                break
        return found

    def explain(self, image: str, pusher: str | None = None) -> Json:
        """Which rules cover an image, why the others do not, and what would happen. Raises ReferenceSyntaxError."""
        reference = Reference.parse(image)
        host = self._settings.host_of(reference.host) if reference.transport == "docker" else None
        tag = reference.tag or "latest"
        rows: list[Json] = []
        decided = False
        for stored in self.rules():
            rule = stored.rule
            reason = "disabled" if not rule.enabled else ""
            if not reason and host is None:
                reason = f"registry: {reference.host!r} is not configured"
            reason = reason or why_not(
                rule, registry=host or "", repository=reference.repository, tag=tag, pusher=pusher
            )
            if not reason and decided:
                reason = "an earlier rule covers it"
            row: Json = {"rule": rule.name, "origin": stored.origin, "matches": not reason, "reason": reason}
            if not reason:
                decided = not rule.more
                row |= _outcome(rule, tag)
            rows.append(row)
        warnings = []
        if self.is_own_tag(tag):
            warnings.append(f"{tag!r} looks like the tag of a result: events for it are left alone")
        if not any(row["matches"] for row in rows):
            warnings.append("no rule covers it: nothing would happen")
        return {"image": str(reference), "pusher": pusher, "rules": rows, "warnings": warnings}

    def _insert(
        self,
        connection: sa.Connection,
        rule: RuleSettings,
        origin: str,
        position: int,
        switched: bool | None = None,
    ) -> None:
        spec = _spec(rule)
        if switched is not None:
            spec |= {"enabled": switched, "switched": switched}
        connection.execute(
            rules.insert().values(
                name=rule.name, position=position, origin=origin, spec=spec, updated_at=self._now()
            )
        )

    def _update(self, name: str, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(
                rules.update().where(rules.c.name == name).values(updated_at=self._now(), **values)
            )


def _outcome(rule: RuleSettings, tag: str) -> Json:
    recipe = recipe_of(rule)
    try:
        tags = list(result_tags(recipe, tag))
    except ConfigError as error:
        return {"tags": [], "problem": str(error), "recipe": asdict(recipe)}
    return {"tags": tags, "problem": "", "recipe": asdict(recipe)}


def _spec(rule: RuleSettings) -> Json:
    return rule.model_dump(mode="json")


def _stored(row: sa.RowMapping) -> StoredRule:
    spec = {key: value for key, value in row["spec"].items() if key != "switched"}
    return StoredRule(RuleSettings.model_validate(spec), row["origin"], row["position"])
