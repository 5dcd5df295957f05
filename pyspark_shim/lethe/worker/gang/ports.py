"""The port of a server that listens on all addresses and asks nobody who they are, as TensorFlow's does: who
may reach it.

Before it listens another socket does, which takes nothing. Of sockets that share a port with SO_REUSEPORT the
kernel asks a program which of them a connection is for (SO_ATTACH_REUSEPORT_CBPF): the server has those of
the addresses that are admitted, from its first moment on. Later its own sockets have a filter.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator

#: Of linux/filter.h and asm-generic/socket.h: what a filter's instructions do, and how it is attached.
LOAD_BYTE, LOAD_WORD, SHIFT_RIGHT, EQUAL, RETURN = 0x30, 0x20, 0x74, 0x15, 0x06
NETWORK_HEADER = 0xFFF00000
ATTACH_FILTER, ATTACH_CHOICE = 26, 51
#: What programs return: of packets, how much of them is taken; of connections, whose they are by order.
NOTHING, ALL, RESERVED, SERVER = 0, 0xFFFFFFFF, 0, 1
#: Where an IP header has its sender.
SENDER = {4: 12, 6: 8}
#: Not a port of anything: nothing is sent.
ANY_PORT = 9


def reserve() -> socket.socket:
    """A socket that listens on a free port of all addresses, and takes nothing. While it is open nobody is
    given the port; a server of this user can listen on it, with SO_REUSEPORT."""
    dual = socket.has_dualstack_ipv6()
    reserved = socket.socket(socket.AF_INET6 if dual else socket.AF_INET)
    if dual:
        reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("", 0))
    _attach(reserved, ATTACH_FILTER, _instruction(RETURN, NOTHING))
    reserved.listen(1)
    return reserved


def expect(reserved: socket.socket, addresses: Iterable[str]) -> None:
    """The server that comes to the reserved port is reached from these addresses alone, while the socket is
    open."""
    _attach(reserved, ATTACH_CHOICE, _by_sender(addresses, SERVER, RESERVED))


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
    code = _by_sender(addresses, ALL, NOTHING)
    for own in _sockets(port):
        _attach(own, ATTACH_FILTER, code)


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


def _attach(to: socket.socket, option: int, code: bytes) -> None:
    kept = ctypes.create_string_buffer(code, len(code))
    to.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", len(code) // 8, ctypes.addressof(kept)))


def _by_sender(addresses: Iterable[str], own: int, others: int) -> bytes:
    """Classic BPF that returns the one for packets whose sender is one of these, the other for all else. An
    IPv6 socket has packets of IPv4 too."""
    return b"".join(_instructions(addresses, own, others))


def _instructions(addresses: Iterable[str], own: int, others: int) -> Iterator[bytes]:
    for address in map(ipaddress.ip_address, addresses):
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
        yield _instruction(RETURN, own)
    yield _instruction(RETURN, others)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, operand)
