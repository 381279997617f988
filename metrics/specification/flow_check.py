"""Checking specification and configuration files together: every fault of every file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..configuration.config import Config, read_config
from ..strict_yaml import Document, Fault, read_document
from .flow_loading import flow_files, read_flows
from .flow_spec import FlowSpec

__all__ = ["CONFIG_NAMES", "SpecificationReport", "check_paths"]

CONFIG_NAMES = ("cxgauge.yml", "cxgauge.yaml")


@dataclass(slots=True)
class SpecificationReport:
    """What was found at some paths."""

    files: list[Path] = field(default_factory=list)
    flows: dict[str, FlowSpec] = field(default_factory=dict)
    configs: list[Config] = field(default_factory=list)
    config_documents: list[Document] = field(default_factory=list)  # of each of ``configs``
    faults: list[Fault] = field(default_factory=list)


def check_paths(paths: Iterable[Path]) -> SpecificationReport:
    """Check files and folders.

    A folder stands for its ``*.yml`` files; one with a ``cxgauge.yml`` for that and the flow folder it names.
    Flows are also checked against the notifiers of that configuration.
    """
    report = SpecificationReport()
    flow_paths: list[Path] = []
    for path in paths:
        configs, flows = _sort(path, report)
        report.files.extend(configs)
        for config_path in configs:
            config, document = read_config(config_path)
            report.faults.extend(document.faults)
            if config is not None:
                report.configs.append(config)
                report.config_documents.append(document)
                flows.extend(_flow_files_of(config, config_path, report))
        flow_paths.extend(flow for flow in flows if flow not in flow_paths)
    report.files.extend(flow_paths)
    report.flows, faults = read_flows(flow_paths)
    report.faults.extend(faults)
    report.faults.extend(_routing_faults(report, flow_paths))
    return report


def _sort(path: Path, report: SpecificationReport) -> tuple[list[Path], list[Path]]:
    if not path.is_dir():
        return ([path], []) if _is_config(path) else ([], [path])
    files = flow_files(path)
    configs = [file for file in files if file.name in CONFIG_NAMES]
    if configs:
        return configs, []
    if not files:
        rule = "has no *.yml file; write one, e.g. cxgauge init --template bill_inquiry"
        report.faults.append(Fault(str(path), 0, "", rule))
    return [], files


def _is_config(path: Path) -> bool:
    if path.name in CONFIG_NAMES:
        return True
    value = read_document(path).value
    keys = set(value) if isinstance(value, dict) else set()
    return bool(keys & set(Config.model_fields)) and not keys & {"steps", "owner", "dimensions"}


def _flow_files_of(config: Config, config_path: Path, report: SpecificationReport) -> list[Path]:
    directory = config.flows.directory
    files = flow_files(directory) if directory.is_dir() else []
    if not files:
        document = read_document(config_path)
        place = ("flows", "directory")
        where = "" if directory.is_dir() else " (there is no such folder)"
        rule = f"has no *.yml file{where}; write one, e.g. cxgauge init --template bill_inquiry"
        document.fault(place, rule, source=document.source(place) or str(directory))
        report.faults.extend(document.faults[-1:])
    return files


def _routing_faults(report: SpecificationReport, paths: list[Path]) -> Iterator[Fault]:
    if len(report.configs) != 1:
        return
    known = [notifier.name for notifier in report.configs[0].notifiers]
    for path in paths:
        document = read_document(path)
        flow = report.flows.get(document.value.get("name", "")) if isinstance(document.value, dict) else None
        if flow is None or document.faults:
            continue
        routings: list[tuple[tuple[str | int, ...], tuple[str, ...] | None]] = [(("alerts",), flow.alerts.notifiers)]
        for index, step in enumerate(flow.steps):
            routings.append((("steps", index, "alerts"), step.alerts.notifiers if step.alerts else None))
        for place, names in routings:
            _add_unknown(document, place, names or (), known)
        yield from document.faults


def _add_unknown(document: Document, place: tuple[str | int, ...], names: Iterable[str], known: list[str]) -> None:
    for position, name in enumerate(names):
        if name not in known:
            rule = f"is no notifier of the configuration; known are {', '.join(known)}"
            document.fault((*place, "notifiers", position), rule, source=name)


def counts(flows: Mapping[str, FlowSpec]) -> tuple[int, int, int]:
    """How many flows, steps and checks there are."""
    steps = [step for flow in flows.values() for step in flow.steps]
    across = sum(len(flow.across) for flow in flows.values())
    return len(flows), len(steps), sum(len(step.checks) for step in steps) + across
