"""Whether only this machine can reach an address."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def is_local(host: str) -> bool:
    """Whether this address is one of the machine's own that nobody else can reach. `host`: an IP address."""
    address = ip_address(host.partition("%")[0])  # an IPv6 address may name its interface
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def is_foreign_name(host: str) -> bool:
    """Whether a request's `Host` is a name that somebody may have pointed at this machine.

    A page in a browser may not read answers of another origin. So a hostile one lets its own name lead to 127.0.0.1,
    and asks its own name (DNS rebinding); only the name gives it away. It has a dot, as every name that can be bought;
    addresses, `localhost` and names of one word, which are the machine's or its network's own, are fine.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    if "." not in name or name.endswith(".localhost"):
        return False
    try:
        ip_address(name)
    except ValueError:
        return True
    return False
