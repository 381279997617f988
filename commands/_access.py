"""What ``cxgauge doctor`` says about who reaches the pages and who can sign in."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import psycopg

from ..dashboards.access.listening import OPEN, UnprotectedPagesError, refuse_unprotected
from ..metrics.configuration.config import Config
from ..metrics.store.accounts import read_accounts
from ..metrics.store.connection import DatabaseSettings, open_connection
from ..metrics.store.health import Finding, Health

__all__ = ["access", "accounts"]


def access(config: Config) -> Finding:
    """Who may reach the pages."""
    try:
        refuse_unprotected(config)
    except UnprotectedPagesError as error:
        detail, _, remedy = str(error).partition("; ")
        return Finding("access", Health.FAIL, detail, remedy)
    sign_in, host = config.sign_in, config.http.host
    if not sign_in.is_required:
        return Finding("access", Health.OK, f"pages on {host} are {OPEN.partition(';')[0]}")
    if sign_in.openid is not None and find_spec("authlib") is None:
        return Finding("access", Health.FAIL, "sign_in.openid needs the extra openid", "pip install 'cxgauge[openid]'")
    if not config.http.is_local and not config.http.is_secure:
        remedy = "set http.tls, or http.public_url: https://… behind a proxy that ends TLS"
        return Finding("access", Health.WARN, f"passwords for the pages on {host} can be read on the way", remedy)
    ways = [*(["name and password"] if sign_in.accounts else []), *([sign_in.openid.issuer] if sign_in.openid else [])]
    return Finding("access", Health.OK, f"pages on {host} ask for sign-in by {' or '.join(ways)}")


def accounts(config: Config, database: DatabaseSettings) -> Iterator[Finding]:
    """Whether somebody can sign in, and administer; nothing if the database cannot say."""
    if not config.sign_in.accounts:
        return
    try:
        with open_connection(database) as connection:
            roles = [one.role for one in read_accounts(connection) if one.disabled_at is None]
    except psycopg.Error:
        return  # said by the findings on the database
    if "admin" in roles:
        yield Finding("accounts", Health.OK, f"{len(roles)} in use, {roles.count('admin')} of them administrators")
    else:
        remedy = "run cxgauge user add NAME --role admin"
        yield Finding("accounts", Health.WARN, f"{len(roles)} in use, none of an administrator", remedy)
