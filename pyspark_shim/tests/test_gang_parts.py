"""What workers of one trial need to know of their rows, their addresses and each other's errors."""

import os
import queue
import socket
from typing import Any

import pyarrow as pa
import pytest

from lethe.dataset.batches import Batching
from lethe.errors import LetheError
from lethe.worker.gang import ports, watch
from lethe.worker.gang.broken import GroupLost, is_broken
from lethe.worker.gang.interface import host_of, interface_of
from lethe.worker.gang.shares import Shares
from lethe.worker.seeding import of_rank


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_slices_of_a_batch_add_up_and_none_is_empty(world: int, drop_last: bool) -> None:
    table = pa.table({"label": range(23)})
    found = []
    for rank in range(world):
        batching = Batching(5, shuffle=False, drop_last=drop_last, rank=rank, world=world)
        slices = batching.cut(table.to_batches())
        found.append(
            [
                (batch.column("label").to_pylist(), share)
                for batch, share in Shares(rank, world).follow(
                    slices, batching.rows(23), lambda: table.to_batches()[0].slice(0, 1)
                )
            ]
        )
    steps = list(zip(*found, strict=True))
    assert len(steps) == (4 if drop_last else 5)
    for number, step in enumerate(steps):
        assert sum(share for _, share in step) == pytest.approx(1.0)
        assert all(rows for rows, _ in step)
        counted = [row for rows, share in step if share for row in rows]
        assert counted == list(range(number * 5, min(23, number * 5 + 5)))


def test_after_its_batches_a_rank_counts_as_an_equal_part_again() -> None:
    batches = pa.table({"label": range(5)}).to_batches(max_chunksize=2)
    shares = Shares(1, 2)
    seen = []
    for batch, share in shares.follow(iter(batches), iter([4, 4, 1]), lambda: batches[0]):
        shares.drawn(batch, share)
        seen.append(shares.current)
    assert seen == [0.5, 0.5, 1.0]
    assert shares.current == 0.5
    # What was drawn last knows its own share.
    torch = pytest.importorskip("torch")
    last = shares.drawn({"label": torch.ones(1)}, 0.25)
    shares.current = 0.5
    shares.of(last)
    assert shares.current == 0.25


def test_an_interface_has_the_address_or_its_network() -> None:
    assert interface_of(host_of("127.0.0.1:4711")) == "lo"
    assert interface_of("127.8.0.9") == "lo"
    assert interface_of("localhost") == "lo"
    names = {name for _, name in socket.if_nameindex()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            # Nothing is sent.
            asking.connect(("192.0.2.1", 9))
            own = asking.getsockname()[0]
        except OSError:
            own = "127.0.0.1"
    assert interface_of(own) in names
    if any(name != "lo" for name in names) and own != "127.0.0.1":
        assert interface_of(own) != "lo"
    with pytest.raises(LetheError, match=r"no network interface here has 203\.0\.113\.9; set"):
        interface_of("203.0.113.9")
    assert host_of("[::1]:80") == "::1"


def test_errors_of_collectives_are_told_from_the_function_s_own() -> None:
    closed = RuntimeError("[/w/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer")
    wrapped = ValueError("my own")
    wrapped.__cause__ = closed
    assert is_broken(closed)
    assert is_broken(wrapped)
    assert is_broken(GroupLost("nobody came"))
    assert not is_broken(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_broken(ValueError("gloo/ is a word in it"))


def test_seeds_of_ranks_differ_and_the_first_is_the_trial_s() -> None:
    for seed in (0, 7, 2**63 - 1):
        seeds = [of_rank(seed, rank) for rank in range(100)]
        assert seeds[0] == seed
        assert len(set(seeds)) == 100
        assert all(0 <= one < 2**63 for one in seeds)


def test_a_port_admits_the_addresses_that_are_said() -> None:
    """Of a listener on all addresses, made by whoever: the kernel drops what others send, from its first
    moment on."""

    def reaches(source: str) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 0.3, (source, 0)).close()
        except TimeoutError:
            return False
        return True

    with ports.reserve() as reserved:
        port = reserved.getsockname()[1]
        with socket.socket(reserved.family) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("", port))
            ports.expect(reserved, ["2001:db8::1", "127.0.0.1", "192.0.2.1"])
            assert not reaches("127.0.0.1"), "it does not listen yet"
            server.listen()
            assert [reaches("127.0.0.1"), reaches("127.0.0.2")] == [True, False]
            ports.admit(port, ["2001:db8::1", "127.0.0.1", "192.0.2.1"])
            reserved.close()
            assert [reaches("127.0.0.1"), reaches("127.0.0.2")] == [True, False]
            ports.admit(port, ["2001:db8::1", "127.0.0.2"])
            assert [reaches("127.0.0.1"), reaches("127.0.0.2")] == [False, True]
            ports.close(port)
            with pytest.raises(ConnectionRefusedError):
                reaches("127.0.0.2")
    assert ports.senders(["127.0.0.1", "127.8.0.9"]) == {"127.0.0.1"}


def test_collectives_of_a_rank_that_nobody_answers_are_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.1)
    monkeypatch.setattr(watch, "EVERY", 0.01)
    reasons = iter([None, "for a moment", None])
    told: queue.Queue[str] = queue.Queue()
    one = watch.Watch(lambda: next(reasons, "worker 1 has ended"), told.put)
    assert told.get(timeout=10) == "worker 1 has ended"
    one.end()
    other = watch.Watch(lambda: None, told.put)
    other.end()
    assert told.empty()


def test_a_group_that_did_not_come_about_does_not_change_the_names_of_the_next() -> None:
    import torch.distributed as dist

    from lethe.worker.gang.group import Group

    class Alone(dist.Store):
        """Where nobody else comes."""

        def set(self, key: str, value: str) -> None:
            return

        def get(self, key: str) -> bytes:
            raise ValueError("the trial is stopped")

        def wait(self, keys: list[str], timeout: Any = None) -> None:
            raise ValueError("the trial is stopped")

    with pytest.raises(Exception, match="the trial is stopped"):
        Group(Alone(), 0, 2, "lo")  # type: ignore[arg-type]
    group = Group(dist.HashStore(), 0, 1, "lo")  # type: ignore[arg-type]
    try:
        assert dist.distributed_c10d._get_default_group().group_name == "0"
    finally:
        group.close()


def test_interfaces_that_the_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed as dist

    from lethe.worker.gang.group import Group

    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "^docker")

    def during_and_after() -> list[tuple[str | None, str | None]]:
        group = Group(dist.HashStore(), 0, 1, "lo")  # type: ignore[arg-type]
        found = []
        for end in (group.close, lambda: None):
            found.append((os.environ.get("GLOO_SOCKET_IFNAME"), os.environ.get("NCCL_SOCKET_IFNAME")))
            end()
        return found

    assert during_and_after() == [("lo", "^docker"), (None, "^docker")]
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.delenv("NCCL_SOCKET_IFNAME")
    # Not each interface whose name begins so.
    assert during_and_after() == [("lo", "=lo"), ("lo", None)]
