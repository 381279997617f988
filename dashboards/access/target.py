"""Where to go after signing in: a path of this site and nothing else."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["safe_target"]

_LIMIT = 1_500


def safe_target(wanted: str) -> str:
    r"""The path that was asked for before signing in, or the overview if it could lead to another site.

    Browsers read ``//host``, ``/\host`` and control characters in their own ways; none of these pass.
    """
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted and len(wanted) <= _LIMIT
    if not plain or not wanted.startswith("/") or wanted.startswith("//"):
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    own = not parts.scheme and not parts.netloc and not parts.path.startswith(("/sign-", "//"))
    return wanted if own else "/"
