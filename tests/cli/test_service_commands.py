"""The commands about the service, as far as they need none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accel.cli.app import application

CONFIG = "api: {auth: none}\nregistries: [{host: r.example}]\nrules: [{name: a, tag: 'v*'}]\n"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "accel.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_a_configuration_is_explained_without_a_server(config: str) -> None:
    done = CliRunner().invoke(application(), ["rules", "explain", "r.example/app:v1", "--config", config, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rules"][0]["tags"] == ["v1_accelerated"]


def test_a_configuration_is_checked_without_being_served(config: str) -> None:
    done = CliRunner().invoke(application(), ["serve", "--check", "--config", config])
    assert (done.exit_code, done.stdout) == (0, f"{config}: fine: 1 registries, 1 rules\n")
    Path(config).write_text(CONFIG + "colour: red")
    assert CliRunner().invoke(application(), ["serve", "--check", "--config", config]).exit_code == 2


@pytest.mark.parametrize("words", [["--help"], ["convert", "--help"]])
def test_what_needs_no_service_loads_none_of_its_packages(words: list[str]) -> None:
    script = (
        "import sys\nfrom accel.cli.app import application\n"
        f"application({words[0]!r})({words!r}, standalone_mode=False)\n"
        "print(sorted({'pydantic', 'sqlalchemy', 'dbos', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
