"""Putting the dashboards into a Grafana by its API: as often as wanted, and never over a person's edit unasked.

Every dashboard carries a tag ``cxgauge:VERSION:HASH``: the version that Grafana gave it when it was last published and
the hash of what was published. Grafana counts the version up with every save, so another version means that somebody
else saved since. Tried on Grafana 7.5; by its documentation the API is the same up to 13.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_client import GrafanaApi, TokenAuth
from grafana_client.client import GrafanaClientError, GrafanaException

__all__ = ["Action", "Note", "PublishError", "Publisher", "Result", "connect", "content_hash"]

FOLDER_UID = "cxgauge"
MARK = "cxgauge"
_TAG = re.compile(r"cxgauge:(\d+):([0-9a-f]{12})")
_COMPARED = ("type", "url", "user", "database")
_TIMEOUT_SECONDS = 15.0
_NOT_FOUND = 404
_NOTES_LIMIT = 5000


class PublishError(RuntimeError):
    """Grafana cannot be reached or refuses; the message says which and what to do."""


class Action(StrEnum):
    """What became of one thing, or would become of it in a dry run."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # a person changed it: left alone
    OVERWRITTEN = "overwritten"  # a person had changed it, and --force was given


@dataclass(frozen=True, slots=True)
class Result:
    """One thing and what became of it; ``note`` says why, where that is not obvious."""

    kind: str
    name: str
    action: Action
    note: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation of Grafana: something that happened, known again by ``key``; times in seconds since 1970 UTC."""

    key: str
    start: float
    end: float
    text: str
    tags: tuple[str, ...] = ()


def connect(url: str, token: str) -> GrafanaApi:
    """A client of the Grafana at ``url``; ``token`` is a service account's, or ``user:password``.

    Raises:
        PublishError: the address is not one of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PublishError(f"{url!r} is no address of a Grafana; write it like https://grafana.example.com")
    user, found, password = token.partition(":")
    credential: Any = (user, password) if found else TokenAuth(token)
    return GrafanaApi.from_url(url.rstrip("/"), credential=credential, timeout=_TIMEOUT_SECONDS)


def content_hash(dashboard: Mapping[str, Any]) -> str:
    """A hash of what a dashboard shows: 12 hexadecimal digits, whatever its version and our tag."""
    content = {key: value for key, value in dashboard.items() if key not in ("id", "version", "tags")}
    content["tags"] = [tag for tag in dashboard.get("tags", []) if not _TAG.fullmatch(tag)]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes to one Grafana.

    Attributes:
        client: See :func:`connect`.
        force: Overwrite what people changed.
        dry_run: Only say what would be done; nothing is written.
    """

    client: GrafanaApi
    force: bool = False
    dry_run: bool = False

    def publish(
        self,
        dashboards: Mapping[str, Mapping[str, Any]],
        datasources: Sequence[Mapping[str, Any]] = (),
        password: str | None = None,
        folder: str = "cxgauge",
        notes: Iterable[Note] = (),
    ) -> Iterator[Result]:
        """Bring everything up to date, one result at a time.

        Args:
            dashboards: By uid.
            datasources: See :func:`.datasources.datasources`.
            password: Of the database, written when its datasource is created or overwritten.
            folder: Title of the folder, if it has to be made.
            notes: Annotations to add; those that are there already are left.

        Raises:
            PublishError: Grafana cannot be reached or refuses; what was reported before it is done.
        """
        for datasource in datasources:
            yield _told(datasource["name"], partial(self._datasource, datasource, password))
        made, number = _told(folder, lambda: self._folder(folder))
        yield made
        for dashboard in dashboards.values():
            yield _told(dashboard["title"], partial(self._dashboard, dashboard, number))
        wanted = list(notes)
        if wanted:
            yield _told("annotations", lambda: self._notes(wanted))

    def _datasource(self, wanted: Mapping[str, Any], password: str | None) -> Result:
        name = wanted["name"]
        body = {**wanted, **({"secureJsonData": {"password": password}} if password and "user" in wanted else {})}
        found = _found(lambda: self.client.datasource.get_datasource_by_name(name))
        if found is None:
            if not self.dry_run:
                self.client.datasource.create_datasource(body)
            return Result("datasource", name, Action.CREATED)
        differing = [key for key in _COMPARED if key in wanted and found.get(key, "") != wanted[key]]
        differing += [key for key, value in wanted["jsonData"].items() if found.get("jsonData", {}).get(key) != value]
        if not differing:
            return Result("datasource", name, Action.UNCHANGED)
        note = f"{', '.join(dict.fromkeys(differing))} differ"
        if not self.force:
            return Result("datasource", name, Action.KEPT, note)
        if not self.dry_run:
            self.client.datasource.update_datasource(found["id"], {**found, **body})
        return Result("datasource", name, Action.OVERWRITTEN, note)

    def _folder(self, title: str) -> tuple[Result, int | None]:
        found = _found(lambda: self.client.folder.get_folder(FOLDER_UID))
        if found is not None:
            return Result("folder", found["title"], Action.UNCHANGED), found["id"]
        if self.dry_run:
            return Result("folder", title, Action.CREATED), None
        return Result("folder", title, Action.CREATED), self.client.folder.create_folder(title, FOLDER_UID)["id"]

    def _dashboard(self, wanted: Mapping[str, Any], folder: int | None) -> Result:
        title, uid, wanted_hash = wanted["title"], wanted["uid"], content_hash(wanted)
        stored = _found(lambda: self.client.dashboard.get_dashboard(uid))
        if stored is None:
            self._save(wanted, wanted_hash, 1, folder)
            return Result("dashboard", title, Action.CREATED)
        found = stored["dashboard"]
        version = int(found["version"])
        published = next(filter(None, (_TAG.fullmatch(tag) for tag in found.get("tags", []))), None)
        edited = published is None or (int(published[1]) != version and content_hash(found) != published[2])
        if not edited and published is not None and published[2] == wanted_hash:
            return Result("dashboard", title, Action.UNCHANGED)
        if edited and not self.force:
            return Result("dashboard", title, Action.KEPT, _edit(stored, published is not None))
        self._save(wanted, wanted_hash, version + 1, folder)
        if edited:
            return Result("dashboard", title, Action.OVERWRITTEN, _edit(stored, published is not None))
        return Result("dashboard", title, Action.UPDATED)

    def _save(self, wanted: Mapping[str, Any], wanted_hash: str, version: int, folder: int | None) -> None:
        """Save as the version that follows; if somebody saved meanwhile, Grafana refuses."""
        if self.dry_run:
            return
        dashboard = deepcopy(dict(wanted))
        dashboard["tags"] = [*dashboard["tags"], f"{MARK}:{version}:{wanted_hash}"]
        dashboard["version"] = version - 1
        body = {"dashboard": dashboard, "folderId": folder, "folderUid": FOLDER_UID, "overwrite": self.force}
        self.client.dashboard.update_dashboard({**body, "message": f"cxgauge {wanted_hash}"})

    def _notes(self, notes: Sequence[Note]) -> Result:
        present = self.client.annotations.get_annotation(tags=[MARK], limit=_NOTES_LIMIT)
        known = {tag for one in present for tag in one["tags"]}
        missing = [note for note in notes if note.key not in known]
        for note in missing if not self.dry_run else ():
            self.client.annotations.add_annotation(
                time_from=int(note.start * 1000),
                time_to=int(note.end * 1000),
                tags=[MARK, note.key, *note.tags],
                text=note.text,
            )
        action = Action.CREATED if missing else Action.UNCHANGED
        return Result("annotations", str(len(notes)), action, f"{len(missing)} new" if missing else "")


def _edit(stored: Mapping[str, Any], ours: bool) -> str:
    meta = stored.get("meta", {})
    who = f"{meta.get('updatedBy') or 'somebody'} saved it at {meta.get('updated', 'an unknown time')}"
    return who if ours else f"it is not of cxgauge's making; {who}"


def _found(ask: Callable[[], Any]) -> Any | None:
    """The answer, or None if Grafana does not know of such a thing."""
    try:
        return ask()
    except GrafanaClientError as error:
        if error.status_code == _NOT_FOUND:
            return None
        raise


def _told(name: str, act: Callable[[], Any]) -> Any:
    """The result of ``act``; what goes wrong is said in the words of the reader."""
    try:
        return act()
    except GrafanaException as error:
        raise PublishError(_refusal(name, error.status_code, error.message)) from None
    except requests.RequestException as error:
        raise PublishError(
            f"Grafana cannot be reached ({type(error).__name__}); is --url right, and is it up?"
        ) from None


def _refusal(name: str, status: int, message: str) -> str:
    if status == 401:
        return "Grafana does not take the token (401); make one: Administration, Service accounts, role Editor or Admin"
    if status == 403:
        return f"Grafana does not let the token write {name} (403); datasources and folders need role Admin"
    if status == 412:
        return f"somebody saved {name} just now (412); run the command again"
    return f"Grafana refused {name} ({status}): {message}"
