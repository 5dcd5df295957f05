"""The port of a server that listens on all addresses and asks nobody who they are, as TensorFlow's does: who
may reach it."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Of linux/filter.h and asm-generic/socket.h: what a filter's instructions do, and how it is attached.
LOAD_BYTE, LOAD_WORD, SHIFT_RIGHT, EQUAL, RETURN = 0x30, 0x20, 0x74, 0x15, 0x06
NETWORK_HEADER = 0xFFF00000
ATTACH_FILTER = 26
#: Where an IP header has its sender.
SENDER = {4: 12, 6: 8}
#: Not a port of anything: nothing is sent.
ANY_PORT = 9


def reserve() -> socket.socket:
    """A free port of all addresses: while the socket is open nobody is given it, and who asks for this one,
    with SO_REUSEADDR as gRPC does, can listen on it."""
    reserved = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("", 0))
    return reserved


def senders(hosts: Iterable[str]) -> set[str]:
    """The addresses from which this host reaches them."""
    found = set()
    for host in hosts:
        for family, _, _, _, target in socket.getaddrinfo(host, ANY_PORT, type=socket.SOCK_DGRAM):
            with socket.socket(family, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
                asking.connect(target)
                found.add(str(asking.getsockname()[0]).partition("%")[0])
    return found


def admit(port: int, addresses: Iterable[str]) -> None:
    """The kernel drops what comes to this process's sockets of the port from other addresses, before a
    connection comes about."""
    code = b"".join(_filter([ipaddress.ip_address(address) for address in addresses]))
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(kept))
    for own in _sockets(port):
        own.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, program)


def close(port: int) -> None:
    """Nobody listens on the port any more, and its connections end; the server may go on."""
    for own in _sockets(port):
        with contextlib.suppress(OSError):
            own.shutdown(socket.SHUT_RDWR)


def _sockets(port: int) -> Iterator[socket.socket]:
    """This process's, of TCP, with the port as their own: whoever has made them."""
    for entry in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                continue
            own = socket.socket(fileno=os.dup(int(entry)))
        except OSError:
            # Closed meanwhile.
            continue
        with own:
            try:
                name = own.getsockname()
            except OSError:
                continue
            internet = own.family in (socket.AF_INET, socket.AF_INET6) and own.type == socket.SOCK_STREAM
            if internet and name[1] == port:
                yield own


def _filter(addresses: list[Address]) -> Iterator[bytes]:
    """Takes packets whose sender is one of these, as classic BPF: an IPv6 socket has those of IPv4 too."""
    for address in addresses:
        words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
        #: Instructions to the next address.
        left = 2 * len(words) + 1
        yield _instruction(LOAD_BYTE, NETWORK_HEADER)
        yield _instruction(SHIFT_RIGHT, 4)
        yield _instruction(EQUAL, address.version, 0, left)
        for number, word in enumerate(words):
            left -= 2
            yield _instruction(LOAD_WORD, NETWORK_HEADER + SENDER[address.version] + 4 * number)
            yield _instruction(EQUAL, word, 0, left)
        yield _instruction(RETURN, 0xFFFFFFFF)
    yield _instruction(RETURN, 0)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, operand)
