"""Provisioning files: a fresh Grafana that finds them shows the dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["compare", "provisioning_files", "write_files"]

_PROVIDER = "dashboards/cxgauge.yml"
_SOURCES = "datasources/cxgauge.yml"
_FOLDER = "dashboards/cxgauge"
_HEAD = "# Written by cxgauge dashboards export; changes here are lost at the next.\n"
_PASSWORD = "$CXGAUGE_GRAFANA_DATABASE_PASSWORD"  # noqa: S105 - a variable that Grafana fills in


def provisioning_files(
    dashboards: Mapping[str, Mapping[str, Any]],
    datasources: Sequence[Mapping[str, Any]],
    mounted_at: str = "/etc/grafana/provisioning",
    folder: str = "cxgauge",
    password_file: str | None = None,
) -> dict[str, str]:
    """The files by name, relative to the folder that Grafana reads its provisioning from.

    ``mounted_at`` is where Grafana sees that folder. The password of the database is left to a variable of
    Grafana's environment, CXGAUGE_GRAFANA_DATABASE_PASSWORD, or to a file that Grafana can read.
    """
    provider = {
        "name": "cxgauge",
        "folder": folder,
        "folderUid": "cxgauge",
        "type": "file",
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": f"{mounted_at}/{_FOLDER}"},
    }
    files = {_PROVIDER: _yaml({"apiVersion": 1, "providers": [provider]})}
    if datasources:
        password = _PASSWORD if password_file is None else f"$__file{{{password_file}}}"
        sources = [
            {**_escaped(source), **({"secureJsonData": {"password": password}} if "user" in source else {})}
            for source in datasources
        ]
        files[_SOURCES] = _yaml({"apiVersion": 1, "datasources": sources})
    for uid, dashboard in dashboards.items():
        files[f"{_FOLDER}/{uid}.json"] = json.dumps(dashboard, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    return files


def write_files(files: Mapping[str, str], directory: Path) -> list[str]:
    """Write what differs, remove dashboards of flows that are gone; returns the names, removed ones included."""
    changed = []
    for name, text in files.items():
        path = directory / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    for name in _left_over(files, directory):
        (directory / name).unlink()
        changed.append(name)
    return changed


def compare(files: Mapping[str, str], directory: Path) -> list[str]:
    """How the files in ``directory`` differ from what they should be, a line each; empty if they do not."""
    found = []
    for name, text in files.items():
        path = directory / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"{path} differs from the specification")
    return found + [f"{directory / name} is of no flow any more" for name in _left_over(files, directory)]


def _left_over(files: Mapping[str, str], directory: Path) -> list[str]:
    present = (f"{_FOLDER}/{path.name}" for path in sorted((directory / _FOLDER).glob("cxgauge-*.json")))
    return [name for name in present if name not in files]


def _escaped(value: Any) -> Any:
    """``value`` so that Grafana, which fills variables of its environment into provisioning files, leaves it as it is."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list) else value


def _yaml(document: Any) -> str:
    return _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
