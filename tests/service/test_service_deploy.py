"""What is in ``deploy`` fits the service: settings, metric names, commands; and the tools it is for accept it."""

import configparser
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from accel.service.database import Database, inbox_tables
from accel.service.metrics import Metrics
from accel.service.settings import ServiceSettings
from accel.service.state_metrics import StateMetrics
from support.registry_docker import require_program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
KUBERNETES = DEPLOY / "kubernetes"
METRIC = re.compile(r"\b(?:accel|process)_[a-z_]+\b")


def settings_of(path: Path) -> ServiceSettings:
    return ServiceSettings.model_validate(yaml.safe_load(path.read_text()))


def documents() -> list[dict[str, Any]]:
    """Every Kubernetes object, as the manifests have it."""
    others = ("accel.yaml", "kustomization.yaml")
    files = [path for path in sorted(KUBERNETES.glob("*.yaml")) if path.name not in others]
    return [document for path in files for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents() if document["kind"] == kind}


@pytest.fixture
def exported(tmp_path: Path) -> set[str]:
    """Every name that /metrics has."""
    database = Database(f"sqlite:///{tmp_path}/service.sqlite")
    events = Database(f"sqlite:///{tmp_path}/inbox.sqlite", inbox_tables)
    metrics = Metrics(settings_of(DEPLOY / "accel.yaml"), StateMetrics(database, events))
    metrics.request("registry.example.com", 200, 0.1)  # a series a host comes with its first request
    families = list(text_string_to_metric_families(metrics.render().decode()))
    database.close()
    events.close()
    return {sample.name for family in families for sample in family.samples}


# --- configuration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DEPLOY / "accel.yaml", KUBERNETES / "accel.yaml"], ids=str)
def test_the_example_configurations_are_accepted(path: Path) -> None:
    settings = settings_of(path)
    assert settings.rules and settings.sources and settings.registries


def test_the_registry_posts_to_a_source_with_its_secret() -> None:
    notifications = yaml.safe_load((DEPLOY / "registry-notifications.yml").read_text())["notifications"]
    [endpoint] = notifications["endpoints"]
    source = next(s for s in settings_of(DEPLOY / "accel.yaml").sources if s.kind == "distribution")
    assert endpoint["url"].endswith(f":8086/hooks/{source.name}")
    assert endpoint["headers"]["Authorization"] == [f"Bearer {source.auth.bearer[0].get_secret_value()}"]
    assert "push" not in endpoint["ignore"]["actions"] and "delete" not in endpoint["ignore"]["actions"]


# --- systemd -------------------------------------------------------------------------------------------------


def unit_of(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    return unit


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_confined(path: Path) -> None:
    service = unit_of(path)["Service"]
    expected = {
        "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "PrivateDevices": "yes", "CapabilityBoundingSet": "", "Restart": "always",
    }  # fmt: skip
    assert {name: service.get(name) for name in expected} == expected
    assert service["StateDirectory"] and service["MemoryMax"]
    limits = settings_of(DEPLOY / "accel.yaml").limits
    assert int(service["MemoryMax"].removesuffix("G")) << 30 > limits.memory


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(path: Path, tmp_path: Path) -> None:
    program = require_program("systemd-analyze", "systemd", "ACCEL_REQUIRE_TOOLS")
    true = shutil.which("true")
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace("/opt/accel/bin/accel", str(true)))
    done = subprocess.run([program, "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# --- container -----------------------------------------------------------------------------------------------


def steps() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_container_file_has_known_instructions_and_ends_without_rights() -> None:
    known = set("ARG FROM RUN WORKDIR COPY ENV USER VOLUME EXPOSE STOPSIGNAL ENTRYPOINT CMD".split())
    names = [name for name, _ in steps()]
    assert set(names) <= known and names.count("FROM") == 2
    last = steps()[max(n for n, name in enumerate(names) if name == "FROM") :]
    users = [value for name, value in last if name == "USER"]
    assert users == ["10001:10001"]
    for name, value in last:
        if name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(value), list)
    assert not [value for name, value in last if name == "COPY" and "--from=build" not in value]


def test_what_the_container_installs_is_there_to_install() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = re.findall(r"'\.\[([a-z,]+)\]'", (DEPLOY / "Containerfile").read_text())
    assert wanted == ["service"] and "service" in extras


@pytest.mark.parametrize(
    "path", [*UNITS, DEPLOY / "Containerfile", *sorted(KUBERNETES.glob("*.yaml"))], ids=lambda path: path.name
)
def test_the_commands_started_are_serve_and_worker_with_a_configuration(path: Path) -> None:
    commands = re.findall(r"(?:bin/accel |\")(serve|worker)(?:\", \"| )(--config)", path.read_text())
    commands += re.findall(r"args: \[(serve|worker), (--config), /etc/accel/accel.yaml\]", path.read_text())
    assert bool(commands) == (path in UNITS or path.name in ("Containerfile", "serve.yaml", "worker.yaml"))


# --- Kubernetes ----------------------------------------------------------------------------------------------


def test_kubernetes_has_the_schemas_word_for_each_object() -> None:
    if os.environ.get("ACCEL_REQUIRE_TOOLS") != "1":
        pytest.importorskip("kubernetes_validate")
    import kubernetes_validate

    for document in documents():
        kubernetes_validate.validate(document, "1.32", strict=True)


def test_kustomize_builds_all_of_it() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl")
    done = subprocess.run([kubectl, "kustomize", str(KUBERNETES)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {d["kind"] for d in built} == {d["kind"] for d in documents()} | {"Secret"}
    assert {d["metadata"].get("namespace", "accel") for d in built} == {"accel"}


def test_the_kustomization_names_every_file() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    [secret] = kustomization["secretGenerator"]
    named = {*kustomization["resources"], *secret["files"], "kustomization.yaml"}
    assert named == {path.name for path in KUBERNETES.iterdir()}


@pytest.mark.parametrize("name", ["accel-serve", "accel-worker"])
def test_pods_have_no_rights_and_room_for_what_the_limits_allow(name: str) -> None:
    pod = of_kind("Deployment")[name]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    limits = settings_of(KUBERNETES / "accel.yaml").limits
    room = {key: int(value.removesuffix("Gi")) << 30 for key, value in container["resources"]["limits"].items()}
    assert room["memory"] > limits.memory and room["ephemeral-storage"] > limits.disk
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/etc/accel", "/var/lib/accel", "/tmp"}


def test_selectors_find_the_pods_they_are_for() -> None:
    labels = {name: d["spec"]["template"]["metadata"]["labels"] for name, d in of_kind("Deployment").items()}

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, own in labels.items() if selector.items() <= own.items()}

    for name, deployment in of_kind("Deployment").items():
        assert found(deployment["spec"]["selector"]["matchLabels"]) == {name}
    assert found(of_kind("Service")["accel"]["spec"]["selector"]) == {"accel-serve"}
    assert found(of_kind("PodDisruptionBudget")["accel-serve"]["spec"]["selector"]["matchLabels"]) == {"accel-serve"}
    policies = of_kind("NetworkPolicy")
    assert found(policies["accel"]["spec"]["podSelector"]["matchLabels"]) == {"accel-serve", "accel-worker"}
    assert found(policies["accel-serve"]["spec"]["podSelector"]["matchLabels"]) == {"accel-serve"}
    assert of_kind("HorizontalPodAutoscaler")["accel-worker"]["spec"]["scaleTargetRef"]["name"] in labels


def test_probes_ask_the_health_paths() -> None:
    [container] = of_kind("Deployment")["accel-serve"]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


# --- Prometheus and Grafana ----------------------------------------------------------------------------------


def test_the_dashboard_shows_exactly_what_is_exported(exported: set[str]) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "accel.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        for name in METRIC.findall(target["expr"])
    }
    assert asked - exported == set()
    whole = re.compile(r"_(?:bucket|sum|count)$")
    ours = {whole.sub("", name) for name in exported if name.startswith("accel_")}
    assert ours - {whole.sub("", name) for name in asked} == set()


def test_dashboard_panels_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana" / "accel.json").read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_alerts_are_about_what_is_exported_and_say_what_to_do(exported: set[str]) -> None:
    [group] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        names = set(METRIC.findall(rule["expr"]))
        assert names and names <= exported, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


@pytest.mark.parametrize("path", sorted((DEPLOY / "prometheus").iterdir()), ids=lambda path: path.name)
def test_prometheus_accepts_its_files(path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool")
    what = ["check", "rules"] if path.name == "alerts.yml" else ["check", "config", "--syntax-only"]
    done = subprocess.run([promtool, *what, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
