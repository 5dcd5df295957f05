"""The network interface of an address: Gloo and NCCL listen on an interface, and are told which."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from lethe.errors import LetheError

#: Of linux/sockios.h.
ADDRESS, MASK = 0x8915, 0x891B
IPV6 = Path("/proc/net/if_inet6")


def host_of(address: str) -> str:
    """Of `host:port`; of IPv6 without its brackets."""
    return address.rpartition(":")[0].strip("[]")


def interface_of(host: str) -> str:
    """The interface that has the host's address, or whose network it is in.

    Raises LetheError if there is none.
    """
    families = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    wanted = [ipaddress.ip_address(str(found[4][0]).partition("%")[0]) for found in families]
    there = list(_interfaces())
    for address in wanted:
        for name, own in there:
            if own.ip == address:
                return name
    for address in wanted:
        for name, own in there:
            if address.version == own.version and address in own.network:
                return name
    raise LetheError(
        f"workers of a trial connect over the executor's address, and no network interface here has {host}; "
        "set spark.driver.host, SPARK_LOCAL_IP or the host's name to an address of this host"
    )


def _interfaces() -> Iterator[tuple[str, ipaddress.IPv4Interface | ipaddress.IPv6Interface]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                found = (fcntl.ioctl(asking, what, request)[20:24] for what in (ADDRESS, MASK))
                address, mask = (socket.inet_ntoa(part) for part in found)
            except OSError:
                # It has no address.
                continue
            yield name, ipaddress.IPv4Interface(f"{address}/{mask}")
    if IPV6.exists():
        for line in IPV6.read_text().splitlines():
            digits, _, prefix, _, _, name = line.split()
            yield name, ipaddress.IPv6Interface((int(digits, 16), int(prefix, 16)))
