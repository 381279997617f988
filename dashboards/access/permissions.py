"""The table of permissions: what each role may do, and what each route asks for. Nothing else decides.

A route that is not in :data:`ROUTES` is refused to everybody; a test walks all routes there are.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ACTIONS", "ROLES", "ROUTES", "Permission", "Role", "Rule"]


class Permission(StrEnum):
    """One thing that a role may allow."""

    READ = "read"
    REPORT = "report"
    IMPROVE = "improve"
    COMMENT = "comment"
    ACKNOWLEDGE = "acknowledge"
    ASSIGN = "assign"
    ACCEPT = "accept"
    SILENCE = "silence"
    AUDIT = "audit"
    ACCOUNTS = "accounts"


class Role(StrEnum):
    """What a person is here; each may do what the one before may."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ENGINEER = "engineer"
    ADMIN = "admin"


class Rule(StrEnum):
    """Routes that ask for something other than a permission."""

    PUBLIC = "public"  # needed before anybody has signed in; shows nothing
    SIGNED_IN = "signed in"  # one's own affairs, whatever the role
    MACHINE = "machine"  # scraped by programs: this machine, declared networks, or a token


_VIEWER = frozenset({Permission.READ})
_ANALYST = _VIEWER | {Permission.REPORT, Permission.IMPROVE, Permission.COMMENT}
_ENGINEER = _ANALYST | {Permission.ACKNOWLEDGE, Permission.ASSIGN, Permission.ACCEPT, Permission.SILENCE}

ROLES: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.ANALYST: _ANALYST,
    Role.ENGINEER: _ENGINEER,
    Role.ADMIN: _ENGINEER | {Permission.AUDIT, Permission.ACCOUNTS},
}

ROUTES: dict[tuple[str, str], Permission | Rule] = {
    ("GET", "/"): Permission.READ,
    ("GET", "/flows/{flow}"): Permission.READ,
    ("GET", "/flows/{flow}/way"): Permission.READ,
    ("GET", "/flows/{flow}/steps/{step}"): Permission.READ,
    ("GET", "/flows/{flow}/report.{format}"): Permission.READ,
    ("POST", "/flows/{flow}/reports"): Permission.REPORT,
    ("GET", "/reports"): Permission.READ,
    ("GET", "/reports/{run}"): Permission.READ,
    ("GET", "/reports/{run}/report.{format}"): Permission.READ,
    ("GET", "/alerts"): Permission.READ,
    ("GET", "/alerts/{alert}"): Permission.READ,
    ("POST", "/alerts/{alert}/actions"): Permission.COMMENT,  # the least of ACTIONS; each asks for its own
    ("GET", "/improvements"): Permission.READ,
    ("POST", "/improvements"): Permission.IMPROVE,
    ("GET", "/improvements/new"): Permission.IMPROVE,
    ("GET", "/improvements/{improvement}"): Permission.READ,
    ("POST", "/improvements/{improvement}"): Permission.IMPROVE,
    ("GET", "/silences"): Permission.READ,
    ("POST", "/silences"): Permission.SILENCE,
    ("POST", "/silences/{silence}/end"): Permission.SILENCE,
    ("POST", "/incidents/{incident}/end"): Permission.SILENCE,
    ("GET", "/search"): Permission.READ,
    ("GET", "/data"): Permission.READ,
    ("GET", "/audit"): Permission.AUDIT,
    ("GET", "/accounts"): Permission.ACCOUNTS,
    ("POST", "/accounts/tokens"): Permission.ACCOUNTS,
    ("POST", "/accounts/tokens/{service}/revoke"): Permission.ACCOUNTS,
    ("GET", "/account"): Rule.SIGNED_IN,
    ("POST", "/account/password"): Rule.SIGNED_IN,
    ("POST", "/sign-out"): Rule.SIGNED_IN,
    ("GET", "/sign-in"): Rule.PUBLIC,
    ("POST", "/sign-in"): Rule.PUBLIC,
    ("GET", "/sign-in/openid"): Rule.PUBLIC,
    ("GET", "/sign-in/openid/callback"): Rule.PUBLIC,
    ("GET", "/static"): Rule.PUBLIC,
    ("GET", "/-/healthy"): Rule.PUBLIC,
    ("GET", "/-/ready"): Rule.MACHINE,
    ("GET", "/metrics"): Rule.MACHINE,
}

ACTIONS: dict[str, Permission] = {
    "acknowledge": Permission.ACKNOWLEDGE,
    "assign": Permission.ASSIGN,
    "comment": Permission.COMMENT,
    "accept": Permission.ACCEPT,
}
"""What a form of an alert may ask for."""
