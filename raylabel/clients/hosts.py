"""Which host a base URL speaks to, and on which way: keys go by host, and so do proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


def host_and_port(base_url: str) -> str:
    """Host and port of a URL, without a user or password written in it.

    >>> host_and_port("http://me:secret@localhost:8000/v1")
    'localhost:8000'
    """
    return urlsplit(base_url).netloc.rpartition("@")[2]


def is_host_of(base_url: str, host: str) -> bool:
    """Whether a base URL leads to a vendor's own host, regional ones included.

    >>> [is_host_of(f"https://{at}/v1", "openai.com") for at in ("openai.com", "eu.openai.com", "localhost")]
    [True, True, False]
    >>> is_host_of("https://api.openai.com@evil.example/v1", "api.openai.com")
    False
    """
    found = urlsplit(base_url).hostname or ""
    return found == host or found.endswith(f".{host}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, which no proxy can reach for us.

    >>> [is_loopback(host) for host in ("localhost", "127.8.0.1", "::1", "::ffff:127.0.0.1", "127.example", "10.0.0.1")]
    [True, True, True, True, False, False]
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and where it was found: the name of an environment variable, or the system's settings."""

    url: str
    found_in: str

    def __str__(self) -> str:
        # By hand: what stands there need not be a URL.
        return f"{self.found_in} ({self.url.partition('://')[2].rpartition('@')[2].partition('/')[0] or 'no address'})"


def proxy_for(base_url: str, env: Mapping[str, str]) -> Proxy | None:
    """The proxy that requests to a base URL go through; None for this machine and the hosts of ``NO_PROXY``.

    >>> str(proxy_for("https://vlm.example/v1", {"ALL_PROXY": "http://me:secret@proxy:3128"}))
    'ALL_PROXY (proxy:3128)'
    >>> proxy_for("http://127.0.0.2:8000/v1", {"http_proxy": "http://proxy:3128"}) is None
    True
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    # The lower-case name wins, as everywhere.
    proxies = {name: env.get(f"{name}_proxy") or env.get(f"{name.upper()}_PROXY") for name in (parts.scheme, "all")}
    if any(
        _is_exempt(host, parts.port, entry) for entry in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(",")
    ):
        return None
    for scheme in (parts.scheme, "all"):
        if url := proxies.get(scheme):
            name = f"{scheme}_proxy"
            found_in = name if env.get(name) else name.upper()
            return Proxy(url if "://" in url else f"http://{url}", found_in)
    return None


def _is_exempt(host: str, port: int | None, entry: str) -> bool:
    """Whether an entry of ``NO_PROXY`` covers a host: ``*``, a domain, an address, a network; with a port or without.

    >>> [_is_exempt("vlm.corp.example", 8000, entry) for entry in ("*", ".corp.example", "example:8000")]
    [True, True, True]
    >>> [_is_exempt("vlm.corp.example", 8000, entry) for entry in ("", "p.example", "corp.example:80")]
    [False, False, False]
    >>> _is_exempt("10.1.2.3", None, "10.0.0.0/8")
    True
    """
    entry = entry.strip().lower()
    if entry == "*":
        return True
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal() and ":" not in name:
        if wanted != str(port):
            return False
        entry = name
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        domain = entry.removeprefix("*").removeprefix(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
