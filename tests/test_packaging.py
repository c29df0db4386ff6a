"""What is shipped is complete and agrees with itself."""

import ast
import contextlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "accel_core"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def kernel_rows() -> set[str]:
    """Every kernel that setup.py names, for any machine, read without running it."""
    rows: set[str] = set()
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if isinstance(target, ast.Name) and target.id in ("KERNELS", "X86_64", "ARM64"):
            assert isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            rows |= set(ast.literal_eval(node.value))
    return rows


def test_the_kernel_table_and_the_kernel_files_are_the_same_set() -> None:
    assert kernel_rows() == {path.stem for path in CORE.glob("*.pyx")}


@pytest.mark.parametrize("name", sorted(path.stem for path in CORE.glob("*.pyx")))
def test_every_kernel_has_its_stub_and_no_directives_of_its_own(name: str) -> None:
    assert (CORE / f"{name}.pyi").is_file()
    # A header like "# cython: boundscheck=False" would quietly beat the checked build.
    assert re.findall(r"^#\s*cython:.*$", (CORE / f"{name}.pyx").read_text(encoding="utf-8"), re.MULTILINE) == []


@pytest.mark.parametrize("package", ["accel", "accel_core"])
def test_packages_ship_their_types(package: str) -> None:
    assert (ROOT / "src" / package / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][package]


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert newest and newest[1] == version
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a source tree that is not installed
        assert importlib.metadata.version("accel") == version


def test_the_licence_is_shipped_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_every_built_kernel_comes_from_the_table() -> None:
    built = {path.name.split(".")[0] for path in CORE.glob("*.so")}
    assert built <= kernel_rows(), "stale .so files: run `make clean build`"


def test_importing_the_library_loads_no_command_line_packages() -> None:
    code = "import accel, sys; print(sorted({'typer', 'rich', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_reference_names_every_command_and_option() -> None:
    app = pytest.importorskip("accel.cli.app")
    from typer.main import get_command

    page = (ROOT / "docs" / "cli-reference.md").read_text(encoding="utf-8")
    group = get_command(app.application())
    commands = getattr(group, "commands", {})
    options = {
        option
        for command in commands.values()
        for parameter in command.params
        if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False)
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }
    assert commands and options
    missing = {name for name in commands if f"`accel {name}`" not in page} | {o for o in options if o not in page}
    assert missing == set(), "run `make docs`"


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "bench").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    assert [t for t in targets if not (page.parent / t).exists()] == []
