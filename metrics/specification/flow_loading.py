"""Reading flow specifications from files, with every fault of every file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..strict_yaml import Document, Fault, SpecificationError, read_document, read_text
from ..validation import validate
from .flow_spec import FlowSpec

__all__ = ["flow_files", "load_flow", "load_flows", "parse_flow", "read_flows"]

FILES_LIMIT = 1_000


def flow_files(path: Path) -> list[Path]:
    """The specification files at ``path``: itself, or the ``*.yml`` and ``*.yaml`` of a directory, sorted.

    Names that start with ``_`` or ``.`` are left out.
    """
    if not path.is_dir():
        return [path]
    return sorted(
        entry for entry in path.iterdir() if entry.suffix in (".yml", ".yaml") and not entry.name.startswith((".", "_"))
    )


def read_flows(paths: Iterable[Path]) -> tuple[dict[str, FlowSpec], list[Fault]]:
    """Read flow files; returns the flows without fault by name, and all faults.

    Files of the same flow name are a fault of the later one.
    """
    flows: dict[str, FlowSpec] = {}
    origin: dict[str, str] = {}
    faults: list[Fault] = []
    for path in paths:
        document = read_document(path)
        flow = validate(FlowSpec, document)
        if flow is not None and flow.name in flows:
            source = document.source(("name",))
            document.fault(("name",), f"is the flow of {origin[flow.name]} already; choose another name", source=source)
        elif flow is not None:
            flows[flow.name] = flow
            origin[flow.name] = document.path
        faults.extend(document.faults)
    return flows, faults


def load_flows(path: Path) -> dict[str, FlowSpec]:
    """Read the flow specifications at ``path``, a file or a directory of them.

    Returns:
        The flows by name, in the order of their files.

    Raises:
        SpecificationError: any file has a fault, or there is no file; ``faults`` has all of them.
    """
    path = Path(path)
    files = flow_files(path)
    if not files:
        rule = "has no *.yml file; write one, e.g. cxgauge init --template bill_inquiry"
        raise SpecificationError((Fault(str(path), 0, "", rule),))
    if len(files) > FILES_LIMIT:
        raise SpecificationError((Fault(str(path), 0, "", f"has more than {FILES_LIMIT} files; split the directory"),))
    flows, faults = read_flows(files)
    if faults:
        raise SpecificationError(tuple(faults))
    return flows


def load_flow(path: Path) -> FlowSpec:
    """Read one flow file.

    Raises:
        SpecificationError: the file has a fault.
    """
    return _checked(read_document(Path(path)))


def parse_flow(text: str, path: str = "flow.yml") -> FlowSpec:
    """Read one flow from YAML text; ``path`` is how messages name it.

    Raises:
        SpecificationError: the text has a fault.
    """
    return _checked(read_text(text, path))


def _checked(document: Document) -> FlowSpec:
    flow = validate(FlowSpec, document)
    if flow is None:
        raise SpecificationError(tuple(document.faults))
    return flow
