"""Imports run one way: `__main__, commands, examples → dashboards → alerts, collectors → metrics`.

Read from the syntax tree, so that an import inside a function or under TYPE_CHECKING counts too.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EVERYTHING = {"metrics", "collectors", "alerts", "dashboards", "commands", "examples"}
MAY_IMPORT = {
    "": {"collectors", "commands"},  # __init__ offers the recorder, __main__ registers the commands
    "metrics": {"metrics"},
    "collectors": {"collectors", "metrics"},
    "alerts": {"alerts", "metrics"},
    "dashboards": {"dashboards", "alerts", "collectors", "metrics"},
    "commands": EVERYTHING,
    "examples": EVERYTHING - {"commands"},
}


def sources() -> list[Path]:
    """Every module of the package."""
    inside = [file for folder in sorted(EVERYTHING) for file in sorted((ROOT / folder).rglob("*.py"))]
    return sorted(ROOT.glob("*.py")) + inside


def folder_of(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


def imported_names(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    """Line, absolute module and name in it ("" for none) of every import in ``source``, a module of ``package``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            for alias in node.names:
                if node.module is None:  # from . import module
                    yield node.lineno, ".".join([*base, alias.name]), ""
                else:
                    yield node.lineno, ".".join([*base, node.module]), alias.name


def imported_modules(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every module that ``source`` imports or imports from."""
    for line, module, _ in imported_names(source, package):
        yield line, module


def violations(source: str, folder: str, package: tuple[str, ...]) -> list[str]:
    found = []
    for line, module in imported_modules(source, package):
        parts = module.split(".")
        if parts[0] in EVERYTHING:
            found.append(f"{line}: imports {module}; the package is cxgauge: import cxgauge.{module}, or relatively")
        elif parts[0] == "cxgauge" and len(parts) > 1:
            target = parts[1] if parts[1] in EVERYTHING else ""
            if target not in MAY_IMPORT[folder] | {""}:
                allowed = ", ".join(sorted(MAY_IMPORT[folder])) or "nothing"
                found.append(f"{line}: imports {module}; {folder or 'the top'} may import {allowed}")
    return found


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    package = ("cxgauge", *file.relative_to(ROOT).parent.parts)
    assert violations(file.read_text(encoding="utf-8"), folder_of(file), package) == []


@pytest.mark.parametrize(
    ("source", "folder", "expected"),
    [
        ("from ..alerts.alert import Alert", "collectors", "1: imports cxgauge.alerts.alert; collectors may import"),
        ("from .. import dashboards", "metrics", "1: imports cxgauge.dashboards; metrics may import metrics"),
        ("def f():\n    import cxgauge.collectors.spool", "alerts", "2: imports cxgauge.collectors.spool; alerts may"),
        ("from metrics.verdict import Verdict", "alerts", "1: imports metrics.verdict; the package is cxgauge"),
        ("import dashboards", "commands", "1: imports dashboards; the package is cxgauge"),
    ],
)
def test_a_wrong_import_is_found(source: str, folder: str, expected: str) -> None:
    (found,) = violations(source, folder, ("cxgauge", folder))
    assert found.startswith(expected)


def test_the_pure_core_does_not_import_what_does_input_and_output() -> None:
    """The types that every other folder builds on can be loaded without a database driver or a web server."""
    heavy = {"psycopg", "psycopg_pool", "httpx2", "starlette", "uvicorn", "prometheus_client", "opentelemetry", "rich"}
    core = [
        "observation",
        "verdict",
        "specification.check",
        "judge",
        "sketch",
        "rollup",
        "baseline.baseline",
        "detection.detector",
        "deviation",
        "names",
    ]
    reached: dict[str, str] = {}
    waiting = [f"cxgauge.metrics.{name}" for name in core]
    while waiting:
        module = waiting.pop()
        file = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
        if module in reached or not file.exists():
            continue
        reached[module] = module
        package = tuple(module.split(".")[:-1])
        for _, name in imported_modules(file.read_text(encoding="utf-8"), package):
            assert name.split(".")[0] not in heavy, f"{module} imports {name}"
            waiting.append(name)
    assert {f"cxgauge.metrics.{name}" for name in core} <= set(reached)


def import_graph(modules: dict[str, tuple[Path, str]]) -> dict[str, set[str]]:
    """Which of ``modules`` (by name: file and text) each one imports; a package stands for its ``__init__``."""
    graph: dict[str, set[str]] = {}
    for module, (file, source) in modules.items():
        package = tuple(module.split(".") if file.name == "__init__.py" else module.split(".")[:-1])
        names = [(name, f"{name}.{inside}") for _, name, inside in imported_names(source, package)]
        graph[module] = {inside if inside in modules else name for name, inside in names} & set(modules)
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """A way round for every module from which imports lead back to it; each way once, from its first name on."""
    found: dict[frozenset[str], list[str]] = {}
    for start in sorted(graph):
        ways: dict[str, list[str]] = {start: [start]}
        waiting = [start]
        while waiting:
            module = waiting.pop(0)
            for target in sorted(graph[module]):
                if target == start:
                    found.setdefault(frozenset(ways[module]), [*ways[module], start])
                elif target not in ways:
                    ways[target] = [*ways[module], target]
                    waiting.append(target)
    return list(found.values())


def test_imports_never_lead_back() -> None:
    """No circle, not even through an import inside a function or under TYPE_CHECKING: they hide one, no more."""
    modules = {}
    for file in sources():
        parts = ("cxgauge", *file.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = (file, file.read_text(encoding="utf-8"))
    assert [" → ".join(way) for way in circles(import_graph(modules))] == []


def test_a_circle_is_found() -> None:
    modules = {
        "cxgauge.a": (Path("a.py"), "from .b import name"),
        "cxgauge.b": (Path("b.py"), "def work():\n    from . import c"),
        "cxgauge.c": (Path("c.py"), "if TYPE_CHECKING:\n    import cxgauge.a\nfrom .leaf import x"),
        "cxgauge.leaf": (Path("leaf.py"), "import os"),
    }
    assert circles(import_graph(modules)) == [["cxgauge.a", "cxgauge.b", "cxgauge.c", "cxgauge.a"]]


def test_no_top_level_module_shadows_a_standard_one() -> None:
    names = {file.stem for file in ROOT.glob("*.py")} | {folder.name for folder in ROOT.iterdir() if folder.is_dir()}
    assert not names & (sys.stdlib_module_names - {"__future__"})


@cache
def distributions() -> dict[str, list[str]]:
    return {module: list(names) for module, names in packages_distributions().items()}


def undeclared(files: Iterable[Path], declared: Iterable[str], own: set[str]) -> list[str]:
    """Imports of third parties that no requirement in ``declared`` brings by its own name."""
    allowed = {_normal(re.split(r"[\s\[<>=!~;]", requirement)[0]) for requirement in declared}
    found = []
    for file in files:
        package = ("cxgauge", *file.relative_to(ROOT).parent.parts)
        for line, module in imported_modules(file.read_text(encoding="utf-8"), package):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top in own:
                continue
            bringing = distributions().get(top, [])
            if not any(_normal(name) in allowed for name in bringing):
                found.append(
                    f"{file.relative_to(ROOT)}:{line}: {module} (of {', '.join(bringing) or 'nothing installed'})"
                )
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Brought by what is declared, as part of its own interface: jinja2, pydantic, typer, opentelemetry-sdk, grafana-client.
BROUGHT = ["click", "markupsafe", "opentelemetry-api", "pydantic-core", "requests"]


def test_what_the_package_imports_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    shipped = [file for file in sources() if "senders" not in file.parts]
    assert undeclared(shipped, [*project["dependencies"], *extras, *BROUGHT], {"cxgauge"}) == []


def test_what_the_tests_import_is_declared() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [
        *document["project"]["dependencies"],
        *document["project"]["optional-dependencies"]["embedded"],
        *BROUGHT,
    ]
    declared += [one for one in document["dependency-groups"]["test"] if isinstance(one, str)]
    assert undeclared(sorted((ROOT / "tests").rglob("*.py")), declared, {"cxgauge"}) == []
