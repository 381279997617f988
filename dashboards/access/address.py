"""From where a request comes. What a header says of it is believed from declared proxies only."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.requests import HTTPConnection

from ...metrics.configuration.http import HttpConfig
from ...metrics.configuration.receiver import is_loopback

__all__ = ["came_by_proxy", "client_address", "is_local", "is_within", "names_loopback"]

_HOPS_LIMIT = 20
_FORWARDING = ("x-forwarded-for", "forwarded", "x-forwarded-host", "x-real-ip")


def client_address(request: HTTPConnection, http: HttpConfig) -> str:
    """The address of the client: the peer, or what the nearest declared proxy says of its own peer.

    ``X-Forwarded-For`` is read from its right end, where each proxy appends; the first address that is no declared
    proxy is the client. What stands left of it anybody could have written.
    """
    peer = request.client.host if request.client else ""
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops[-_HOPS_LIMIT:]):
        if not is_within(peer, http.trusted_proxies):
            break
        try:
            peer = str(ipaddress.ip_address(hop.strip("[]")))
        except ValueError:
            break
    return peer


def came_by_proxy(request: HTTPConnection) -> bool:
    """Whether somebody says that it forwarded the request."""
    return any(name in request.headers for name in _FORWARDING)


def is_local(request: HTTPConnection, http: HttpConfig) -> bool:
    """Whether a program of this machine asks by itself, not for somebody else.

    An undeclared proxy on this machine would make everybody look local; most of them say so in a header.
    """
    peer = request.client.host if request.client else ""
    known = "x-forwarded-for" in request.headers and is_within(peer, http.trusted_proxies)
    return is_loopback(client_address(request, http)) and (known or not came_by_proxy(request))


def is_within(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether an address belongs to one of the networks; an IPv4 address in IPv6's clothes counts as IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any(each in network for network in networks for each in (parsed, mapped) if each is not None)


def names_loopback(request: HTTPConnection) -> bool:
    """Whether the browser was told a name of this machine; another name could be led here by its owner's DNS."""
    return is_loopback((request.url.hostname or "").lower())
