"""Secrets by reference: the configuration says where a secret is, never what it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, ValidationInfo, WithJsonSchema, model_validator

from ..specification.scalar_types import StrictModel, refuse

__all__ = ["AddressReference", "DsnReference", "Secret", "SecretError", "SecretReference", "SecretsModel"]

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)|file:(.+)")
_SIZE_LIMIT_BYTES = 64 * 1024


class SecretError(ValueError):
    """A referenced secret cannot be read; the message names the reference, never the secret."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is: an environment variable or a file; or a text that is known to hold no secret.

    A reference is read each time it is asked for, so that a rotated file is seen without a restart. Printing it
    shows the reference only.
    """

    variable: str | None = None
    file: Path | None = None
    plain: str | None = field(default=None, repr=False)

    def reveal(self) -> str:
        """The secret itself, without surrounding blanks and line ends.

        Raises:
            SecretError: the variable is not set, the file cannot be read, or it is empty.
        """
        if self.plain is not None:
            return self.plain
        if self.variable is not None:
            text = os.environ.get(self.variable, "").strip()
            if not text:
                raise SecretError(f"environment variable {self.variable} is not set; set it to the secret")
            return text
        path = self.file or Path()
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(_SIZE_LIMIT_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SecretError(f"secret file {path} cannot be read ({reason}); check path and permissions") from None
        if not text:
            raise SecretError(f"secret file {path} is empty; write the secret into it")
        return text

    def reveal_bytes(self) -> bytes:
        """The secret as UTF-8 bytes; see :meth:`reveal`."""
        return self.reveal().encode()

    def __str__(self) -> str:
        if self.plain is not None:
            return self.plain
        return f"env:{self.variable}" if self.variable is not None else f"file:{self.file}"


def _reference(value: object, info: ValidationInfo) -> Secret | None:
    if isinstance(value, Secret):
        return value
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    if found[1]:
        return Secret(variable=found[1])
    directory = info.context.get("directory") if isinstance(info.context, dict) else None
    path = Path(found[2]).expanduser()
    return Secret(file=path if directory is None else Path(directory) / path)


def _secret(value: object, info: ValidationInfo) -> Secret:
    found = _reference(value, info)
    if found is None:
        raise refuse("must be a reference, not the secret itself; write env:NAME or file:/path", secret=True)
    return found


def _address(value: object, info: ValidationInfo) -> Secret:
    found = _reference(value, info)
    if found is not None:
        return found
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        parts, usable = None, False
    if parts is None or not usable:
        raise refuse("is not an address; write http(s)://host/path, env:NAME or file:/path", secret=True)
    if parts.query or parts.username is not None or parts.password is not None:
        raise refuse("may hold a secret after '?' or before '@'; write env:NAME or file:/path", secret=True)
    return Secret(plain=str(value))


def _dsn(value: object, info: ValidationInfo) -> Secret:
    found = _reference(value, info)
    if found is not None:
        return found
    if not isinstance(value, str) or not ("=" in value or value.startswith(("postgresql://", "postgres://"))):
        raise refuse(
            "is not a database address; write postgresql://user@host/database, env:NAME or file:/path", secret=True
        )
    if "password" in value.lower() or re.match(r"[a-z]+://[^/?#]*:[^/?#]*@", value):
        raise refuse(
            "holds a password; write password_file: /path, or the whole address as env:NAME or file:/path", secret=True
        )
    return Secret(plain=value)


_REFERENCE_SCHEMA = "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"

SecretReference = Annotated[
    Secret,
    BeforeValidator(_secret),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _REFERENCE_SCHEMA}),
]
"""A secret in a file: ``env:NAME`` or ``file:/path``; a key ``x_file: /path`` may stand for ``x: file:/path``."""

AddressReference = Annotated[
    Secret,
    BeforeValidator(_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|https?://[^?@]+)$"}),
]
"""An HTTP address: in clear when it holds no secret (no query, no user), else by reference."""

DsnReference = Annotated[
    Secret,
    BeforeValidator(_dsn),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|postgres(ql)?://.+|.*=.*)$"}),
]
"""A database address: in clear when it holds no password, else by reference."""


def _extend_schema(schema: dict[str, Any], model: type[StrictModel]) -> None:
    """Allow ``x_file`` beside every secret ``x`` in the JSON Schema."""
    required = schema.get("required", [])
    for key in _secret_keys(model):
        schema["properties"][f"{key}_file"] = {
            "type": "string",
            "format": "path",
            "description": f"File that holds `{key}`.",
        }
        either = [{"required": [key]}, {"required": [f"{key}_file"]}]
        if key in required:
            required.remove(key)
            schema.setdefault("allOf", []).append({"oneOf": either})
        else:
            schema.setdefault("allOf", []).append({"not": {"required": [key, f"{key}_file"]}})


def _secret_keys(model: type[StrictModel]) -> list[str]:
    keys = []
    for name, info in model.model_fields.items():
        if "Secret" in str(info.annotation) and not str(info.annotation).startswith(("tuple", "dict")):
            keys.append(info.alias or name)
    return keys


class SecretsModel(StrictModel):
    """Base of sections with secrets: a key ``x_file: /path`` stands for ``x: file:/path``."""

    model_config = ConfigDict(json_schema_extra=_extend_schema)

    @model_validator(mode="before")
    @classmethod
    def _files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for key in _secret_keys(cls):
            if f"{key}_file" not in data:
                continue
            if key in data:
                raise refuse(f"has both {key} and {key}_file; keep one")
            path = data.pop(f"{key}_file")
            data[key] = f"file:{path}" if isinstance(path, str) and path.strip() else path
        return data
