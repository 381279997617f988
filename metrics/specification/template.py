"""The flow templates that come with cxgauge, and writing them into a folder."""

from __future__ import annotations

from pathlib import Path

from .flow_loading import load_flow
from .flow_spec import FlowSpec

__all__ = [
    "ExistingFileError",
    "UnknownTemplateError",
    "template_names",
    "template_spec",
    "template_text",
    "write_project",
]

_FOLDER = Path(__file__).parent / "templates"
_CONFIG = "_cxgauge.yml"


class UnknownTemplateError(ValueError):
    """There is no template of that name."""


class ExistingFileError(ValueError):
    """A file that would be written is there already."""


def template_names() -> tuple[str, ...]:
    """Names of the templates, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yml") if not path.name.startswith("_")))


def template_text(name: str) -> str:
    """The YAML of a template, comments included.

    Raises:
        UnknownTemplateError: there is none of that name.
    """
    return _path(name).read_text(encoding="utf-8")


def template_spec(name: str) -> FlowSpec:
    """The flow of a template.

    Raises:
        UnknownTemplateError: there is none of that name.
    """
    return load_flow(_path(name))


def write_project(directory: Path, names: tuple[str, ...], *, force: bool = False) -> tuple[list[Path], list[Path]]:
    """Write ``cxgauge.yml`` and ``flows/<name>.yml`` of each template into a folder, which is made when missing.

    A ``cxgauge.yml`` that is there is kept, so that flows can be added later; nothing is written when a flow file is
    there already, unless ``force`` overwrites both.

    Returns:
        The files written and the files kept.

    Raises:
        UnknownTemplateError: a template does not exist.
        ExistingFileError: a flow file exists and ``force`` is not given.
        OSError: the folder cannot be written.
    """
    config = directory / "cxgauge.yml"
    texts = {directory / "flows" / f"{name}.yml": template_text(name) for name in names}
    existing = [path for path in texts if path.exists()]
    if existing and not force:
        listed = ", ".join(str(path) for path in existing)
        raise ExistingFileError(f"{listed} exists already; choose another --directory, or overwrite with --force")
    kept = [config] if config.exists() and not force else []
    if not kept:
        texts = {config: (_FOLDER / _CONFIG).read_text(encoding="utf-8"), **texts}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts), kept


def _path(name: str) -> Path:
    if name not in template_names():
        known = ", ".join(template_names())
        raise UnknownTemplateError(f"template '{name}' does not exist; choose one of {known}")
    return _FOLDER / f"{name}.yml"
