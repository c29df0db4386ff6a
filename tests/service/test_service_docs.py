"""``docs/service.md`` names every setting with its default, every metric, and only what is there."""

import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from accel.service.database import Database, inbox_tables
from accel.service.metrics import Metrics
from accel.service.settings import (
    ApiSettings,
    BasicAuth,
    EndpointSettings,
    HmacAuth,
    LimitSettings,
    Model,
    Pattern,
    ProtectionSettings,
    RegistrySettings,
    RuleSettings,
    ScanSettings,
    ServiceSettings,
    SourceAuth,
    SourceKind,
    SourceSettings,
    StoreSettings,
    TokenSettings,
)
from accel.service.state_metrics import StateMetrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")

SECTIONS: dict[str, type[Model]] = {
    "The file": ServiceSettings,
    "`store`": StoreSettings,
    "`api`": ApiSettings,
    "`api.tokens[]`": TokenSettings,
    "`registries[]`": RegistrySettings,
    "`registries[].scan`": ScanSettings,
    "`sources[]`": SourceSettings,
    "`sources[].auth`": SourceAuth,
    "`sources[].auth.basic`": BasicAuth,
    "`sources[].auth.hmac`": HmacAuth,
    "`rules[]`": RuleSettings,
    "`limits`": LimitSettings,
    "`endpoints[]`": EndpointSettings,
    "`protection`": ProtectionSettings,
}


def defaults_in(section: str) -> dict[str, str]:
    """What the page says: setting and default."""
    _, found, rest = PAGE.partition(f"\n### {section}\n")
    assert found, f"no section {section}"
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", rest.partition("\n### ")[0], re.MULTILINE))


def is_default(field: FieldInfo, text: str) -> bool:
    if text == "required":
        return field.is_required()
    default: Any = field.default
    if text == "–":
        return default is None or default in ((), "", Pattern())
    if text == "see below":
        return isinstance(default, Model)
    kind = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return bool(TypeAdapter(kind).validate_python(yaml.safe_load(text.strip("`"))) == default)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_there_with_its_default(section: str) -> None:
    fields = {field.alias or name: field for name, field in SECTIONS[section].model_fields.items()}
    said = defaults_in(section)
    assert list(said) == list(fields)
    assert [name for name, field in fields.items() if not is_default(field, said[name])] == []


def test_every_part_of_the_settings_has_its_section() -> None:
    reached: set[type[Model]] = set()
    pending: list[type[Model]] = [ServiceSettings]
    while pending:
        model = pending.pop()
        reached.add(model)
        named = " ".join(str(field.annotation) for field in model.model_fields.values())
        parts = {part for part in Model.__subclasses__() if re.search(rf"\b{part.__name__}\b", named)}
        pending += parts - reached - {Pattern}
    assert reached == set(SECTIONS.values())


@pytest.mark.parametrize("kind", SourceKind.__args__)  # type: ignore[attr-defined]
def test_every_kind_of_sender_has_its_instructions(kind: str) -> None:
    assert f"`kind: {kind}`" in PAGE.partition("## Events in\n")[2]


def test_the_metrics_named_are_those_exported(tmp_path: Path) -> None:
    settings = ServiceSettings.model_validate({"api": {"auth": "none"}, "registries": [{"host": "r.example"}]})
    database = Database(f"sqlite:///{tmp_path}/service.sqlite")
    events = Database(f"sqlite:///{tmp_path}/inbox.sqlite", inbox_tables)
    text = Metrics(settings, StateMetrics(database, events)).render().decode()
    database.close()
    events.close()
    suffix = {"counter": "_total", "info": "_info"}
    exported = {
        family.name + suffix.get(family.type, "")
        for family in text_string_to_metric_families(text)
        if family.name.startswith("accel_")
    }
    assert set(re.findall(r"^\| `(accel_\w+)`", PAGE, re.MULTILINE)) == exported


def test_the_quick_start_s_configuration_is_accepted() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    settings = ServiceSettings.model_validate(yaml.safe_load(blocks[0]))
    [endpoint] = yaml.safe_load(blocks[1])["notifications"]["endpoints"]
    secret = settings.sources[0].auth.bearer[0].get_secret_value()
    assert endpoint["headers"]["Authorization"] == [f"Bearer {secret}"]
    assert endpoint["url"] == f"http://{settings.api.listen}/hooks/{settings.sources[0].name}"


def test_links_inside_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors
    for path in re.findall(r"\]\((\.\./[\w./-]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
