"""Whether the pages may listen where the configuration says, and what to tell about it."""

from __future__ import annotations

from ...metrics.configuration.config import Config

__all__ = ["OPEN", "UnprotectedPagesError", "refuse_unprotected"]

OPEN = "open to whoever uses this machine, without sign-in; set sign_in to let people in by name"
"""What log and command line say when nobody has to sign in."""


class UnprotectedPagesError(ValueError):
    """The pages would be reached from the network by anybody, or passwords be readable on the way."""


def refuse_unprotected(config: Config) -> None:
    """Let pages listen beyond loopback only with sign-in, and encrypted.

    Raises:
        UnprotectedPagesError: they would not be; the text says what to set.
    """
    http = config.http
    if http.is_local:
        return
    if not config.sign_in.is_required:
        raise UnprotectedPagesError(
            f"http.host={http.host} can be reached from the network, but nobody has to sign in; set sign_in.accounts: "
            "true and run cxgauge user add NAME --role admin, or set sign_in.openid, or listen on 127.0.0.1"
        )
    if not http.is_secure and not http.unencrypted:
        raise UnprotectedPagesError(
            f"http.host={http.host} can be reached from the network, but passwords would be readable on the way; set "
            "http.tls, or behind a proxy that ends TLS http.public_url: https://… and http.trusted_proxies, or in a "
            "closed test network http.unencrypted: true"
        )
