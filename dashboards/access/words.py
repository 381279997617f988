"""What people read about signing in, roles and the audit, in their language."""

from __future__ import annotations

from ...metrics.store.scope import DataScope
from ..wording import Wording
from .openid import Refusal
from .passwords import PasswordFault
from .permissions import Role
from .sign_in import Refused

__all__ = ["action_words", "fault_words", "provider_words", "refused_words", "role_words", "scope_words"]


def refused_words(refused: Refused, w: Wording) -> str:
    """Why a name and a password did not let anybody in."""
    text = w.translator.text
    if refused.fault is not None:
        return fault_words(refused.fault, w)
    if refused.kind == "wait":
        seconds = max(1, round(refused.wait_seconds))
        return text("Too many failed tries. Try again in {length}.", length=w.length(seconds))
    return text("The current password is wrong.") if refused.kind == "current" else text("Name or password is wrong.")


def fault_words(fault: PasswordFault, w: Wording) -> str:
    """Why a text cannot be a password, and what to choose."""
    text = w.translator.text
    return {
        "short": text(
            "The password has {count} characters; choose one of at least {limit}.", count=fault.count, limit=fault.limit
        ),
        "long": text("The password has more than {limit} characters; choose a shorter one.", limit=fault.limit),
        "repeats": text(
            "The password has {count} different characters; choose one of at least {limit}.",
            count=fault.count,
            limit=fault.limit,
        ),
        "name": text("The password contains the name; choose another."),
    }[fault.kind]


def provider_words(refusal: str, w: Wording) -> str:
    """Why a provider's word did not let anybody in."""
    text = w.translator.text
    return {
        Refusal.STATE: text("This sign-in was not begun in this browser, or too long ago. Begin again."),
        Refusal.USED: text("This sign-in has been used already. Begin again."),
        Refusal.TOKEN: text("What the provider says is not valid. Tell the administrators; the audit says why."),
        Refusal.ROLE: text(
            "The provider knows you, but none of your groups gives a role here. Ask the administrators."
        ),
        Refusal.DISABLED: text("Your account is disabled here. Ask the administrators."),
        Refusal.PROVIDER: text("The provider does not answer as it should. Try again, or tell the administrators."),
    }[refusal]


def role_words(role: Role, w: Wording) -> str:
    """A role's name."""
    text = w.translator.text
    return {
        Role.VIEWER: text("viewer"),
        Role.ANALYST: text("analyst"),
        Role.ENGINEER: text("engineer"),
        Role.ADMIN: text("administrator"),
    }[role]


def scope_words(scope: DataScope, w: Wording) -> str:
    """Which data may be seen."""
    text = w.translator.text
    if scope.is_everything:
        return text("everything")
    flows = text("all flows") if scope.flows is None else ", ".join(sorted(scope.flows)) or text("no flow")
    limits = [f"{name}={'|'.join(sorted(values))}" for name, values in scope.dimensions]
    return "; ".join([flows, *limits])


def action_words(action: str, w: Wording) -> str:
    """A deed of the audit."""
    text = w.translator.text
    known = {
        "sign-in": text("signed in"),
        "sign-in failed": text("sign-in failed"),
        "sign-out": text("signed out"),
        "password changed": text("password changed"),
        "password change failed": text("password change failed"),
        "account added": text("account added"),
        "account disabled": text("account disabled"),
        "account enabled": text("account enabled"),
        "access changed": text("role or data changed"),
        "token added": text("sender's token added"),
        "token revoked": text("sender's token revoked"),
        "configuration reloaded": text("configuration reloaded"),
        "acknowledge": text("alert acknowledged"),
        "assign": text("alert assigned"),
        "comment": text("alert commented"),
        "accept": text("new level accepted"),
        "silence": text("alerts silenced"),
        "silence ended": text("silence ended"),
        "incident": text("incident reported"),
        "incident ended": text("incident ended"),
        "improvement planned": text("improvement planned"),
        "improvement changed": text("improvement changed"),
        "improvement done": text("improvement in effect"),
        "improvement dropped": text("improvement given up"),
        "improvement reopened": text("improvement taken up again"),
        "report asked for": text("report asked for"),
        "service token added": text("service token added"),
        "service token revoked": text("service token revoked"),
        "service token refused": text("service token refused"),
        "service token used": text("service token used from a new address"),
    }
    return known.get(action, action)
