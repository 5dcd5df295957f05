"""A trial on several workers, over torch.distributed, or in TensorFlow beside it."""

from __future__ import annotations

import math
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lethe import flight
from lethe.errors import InstallError, LetheError
from lethe.experiment.blame import raised
from lethe.worker.exchange import Attempt
from lethe.worker.gang.broken import is_broken
from lethe.worker.gang.devices import same_devices
from lethe.worker.gang.interface import host_of, interface_of
from lethe.worker.gang.shares import Shares
from lethe.worker.stopped import TrialStopped

#: Ways to end, as they travel.
HOW = (None, "stopped", "paused")
#: A worker whose collective has failed waits so long to hear why, seconds: the driver tells all others to
#: stop when it hears of one's end.
GRACE = 8.0


class Several:
    """See `Workers`."""

    def __init__(
        self,
        peer: flight.Peer,
        spec: dict[str, Any],
        attempt: Attempt,
        sharding: str | None,
        strategy: str | None,
    ) -> None:
        self.rank, self.world = spec["gang"]["rank"], spec["gang"]["world"]
        self.shares = Shares(self.rank, self.world)
        self.sharded = sharding == "full"
        # Keras shuffles arrays on each rank, and each takes its part of what comes.
        self.alike = strategy is not None
        self._peer, self._attempt = peer, attempt
        self._call = {name: spec[name] for name in ("experiment", "trial", "attempt")}
        self._store: Any = None
        self._group: Any = None
        self._states: Any = None
        self._mirrored: Any = None
        self.spent = False
        #: Models that are trained together.
        self._made = 0

    def join(self) -> None:
        try:
            import torch

            from lethe.worker.gang.group import Group
            from lethe.worker.gang.store import GangStore
        except ImportError as error:
            raise InstallError(
                f"a trial on several workers needs PyTorch on the executors ({error}): pip install "
                "'lethe[torch]'"
            ) from None
        self._store = GangStore(self._peer, self._call, self._look)
        same_devices(self._store, self.rank, self.world, torch.cuda.is_available())
        host = host_of(self._peer.address)
        self._group = Group(self._store, self.rank, self.world, interface_of(host))
        if self.alike:
            try:
                from lethe.worker.gang.mirrored import Mirrored
            except ImportError as error:
                raise InstallError(
                    f"strategy needs TensorFlow on the executors ({error}): pip install tensorflow"
                ) from None
            self._mirrored = Mirrored(self._store, self.rank, self.world, host, self._vain)
        if self.sharded:
            from lethe.worker.gang.sharded import part_states

            self._states = part_states()

    def _look(self) -> None:
        if self._attempt.stopped:
            raise TrialStopped("the trial is stopped")

    def scope(self) -> AbstractContextManager[None]:
        return nullcontext() if self._mirrored is None else self._mirrored.scope()

    def parallel(self, model: Any) -> Any:
        torch = sys.modules["torch"]
        if hasattr(type(model), "distribute_strategy"):
            return self._in_tensorflow(model)
        if not isinstance(model, torch.nn.Module):
            return model
        from lethe.worker.gang.replica import is_keras, replicate

        # Keras's have none before they are built, which is said.
        if not is_keras(model) and not any(True for _ in model.parameters()):
            return model
        if self.sharded:
            from lethe.worker.gang.sharded import shard

            shard(model, self.shares)
        else:
            replicate(model, self.shares)
        self._made += 1
        return model

    def _in_tensorflow(self, model: Any) -> Any:
        if self._mirrored is None:
            raise LetheError(
                f"the model {model.name} is of TensorFlow, whose workers listen on a port that asks for no "
                'token: where you trust its hosts, lethe.Function(…, strategy="multi_worker_mirrored") '
                "trains it on several; or let Keras compute in PyTorch: "
                'lethe.Function(…, environment={"KERAS_BACKEND": "torch"})'
            )
        return self._mirrored.train(model)

    def returned(self) -> None:
        # What is made under TensorFlow's strategy is trained together, whoever makes it.
        if self._made == 0 and self.rank == 0 and self._mirrored is None:
            print(
                f"lethe: nothing was trained together: each of the {self.world} workers has run the function "
                "by itself. Give lethe.Function a model generator, or call lethe.parallel(model) in the "
                "function",
                file=sys.stderr,
            )

    def agree(self, how: str | None) -> str | None:
        (told,) = self._group.first([float(HOW.index(how))])
        return HOW[int(told)]

    def same(self, value: float | None) -> float | None:
        (found,) = self._group.first([math.nan if value is None else value])
        return None if math.isnan(found) else found

    def outcome(self, error: BaseException) -> dict[str, Any] | None:
        # TensorFlow does not get over collectives that were broken off: it hangs when they are taken down.
        self.spent = self._mirrored is not None
        if not is_broken(error):
            return None
        end = time.monotonic() + GRACE
        while time.monotonic() < end and not self._attempt.stopped:
            early = self._ended_early()
            if early is not None:
                who = (
                    f"the function returned on worker {early} of {self.world} while worker {self.rank} "
                    f"waited for it; it must take the same steps on each. Worker {self.rank}"
                )
                return {"type": "failed", "error": raised(who, error)}
            time.sleep(0.05)
        if self._attempt.stopped:
            # Told so because of what the other came to, or as the trial itself.
            return {"type": "stopped"}
        text = f"worker {self.rank} of {self.world} lost the others: {error}"
        return {"type": "lost", "error": text}

    def _vain(self) -> str | None:
        """Why nobody answers this rank's collectives."""
        if self._attempt.stopped:
            return "the attempt is to stop"
        early = self._ended_early()
        return None if early is None else f"worker {early} has ended"

    def _ended_early(self) -> int | None:
        """A worker whose function has returned."""
        if self._store is None:
            return None
        try:
            others = (rank for rank in range(self.world) if rank != self.rank)
            return next((rank for rank in others if self._store.peek(_key(rank)) == b"finished"), None)
        except RuntimeError:
            return None

    def leave(self, how: str) -> None:
        if self._states is not None:
            self._states.remove()
        if self._group is None:
            return
        try:
            # Before its connections end, so that whoever waits for them finds it.
            self._store.set(_key(self.rank), how)
        except RuntimeError as error:
            print(f"lethe: {error}", file=sys.__stderr__)
        if self._mirrored is not None:
            self._mirrored.close(together=how not in {"failed", "lost"})
        self._group.close()


def _key(rank: int) -> str:
    return f"ended/{rank}"
