"""TensorFlow's MultiWorkerMirroredStrategy among the ranks of a trial."""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import tensorflow as tf

from lethe.errors import LetheError
from lethe.worker.gang import ports
from lethe.worker.gang.broken import GroupLost
from lethe.worker.gang.interface import host_of
from lethe.worker.gang.store import GangStore
from lethe.worker.gang.watch import Watch

#: Where TensorFlow looks for the ranks.
CONFIG = "TF_CONFIG"
#: Its server shares its port with the socket that keeps others from it.
SHARED = "TF_GRPC_REUSE_PORT"
#: Ranks that have come to the same end wait so long for each other's last collective, seconds.
LAST = 10.0
#: Of a model's methods, what their datasets are for.
PURPOSES = {"fit": "training", "evaluate": "whole", "predict": "parted"}
OFF = tf.data.experimental.AutoShardPolicy.OFF

#: TensorFlow's state of an attempt that has ended is still there.
_left = False


class Strategy(tf.distribute.MultiWorkerMirroredStrategy):  # type: ignore[misc]
    """Whose datasets are what a rank of Lethe's makes of them.

    One whose auto-shard policy is OFF, as of `dataset.train.to_tf()`, has this rank's own batches, which are
    taken as they are. Of others, arrays too, each rank trains on its part of each batch, as TensorFlow has
    it.
    """

    #: What a dataset is for: "training", "whole" where each rank takes all of it, "parted".
    purpose: str | None = None

    @contextmanager
    def for_purpose(self, purpose: str) -> Iterator[None]:
        before, self.purpose = self.purpose, purpose
        try:
            yield
        finally:
            self.purpose = before

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        purpose = self.purpose
        if purpose == "training":
            # Those that follow are of its validation.
            self.purpose = "whole"
        own = purpose == "whole" or dataset.options().experimental_distribute.auto_shard_policy == OFF
        if own and purpose != "parted":
            return self.distribute_datasets_from_function(lambda _: dataset)
        if own:
            parted = tf.data.Options()
            parted.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
            dataset = dataset.with_options(parted)
        return super().experimental_distribute_dataset(dataset, options)

    def reduce(self, reduce_op: Any, value: Any, axis: Any) -> Any:
        """As Keras 3 asks for it (keras-team/keras#20585): of a batch, for its shapes, and of numbers along
        an axis, which they do not have."""
        if isinstance(value, tuple | list | dict):
            return tf.nest.map_structure(lambda one: self.experimental_local_results(one)[0], value)
        scalar = self.experimental_local_results(value)[0].shape.rank == 0
        return super().reduce(reduce_op, value, None if scalar else axis)


class Mirrored:
    """The strategy of one attempt: what Keras makes in its scope, all ranks train together.

    host: this rank's, as the others reach it. vain: see `Watch`.

    Raises GroupLost where the others do not come.
    """

    def __init__(
        self, store: GangStore, rank: int, world: int, host: str, vain: Callable[[], str | None]
    ) -> None:
        self._store, self._rank, self._world = store, rank, world
        self._vain = vain
        with ports.reserve() as reserved:
            self._port = int(reserved.getsockname()[1])
            workers = self._gathered("address", f"{f'[{host}]' if ':' in host else host}:{self._port}")
            hosts = {host_of(worker) for worker in workers}
            reach = self._gathered("senders", " ".join(sorted(ports.senders(hosts))))
            senders = {address for some in reach for address in some.split()}
            os.environ[CONFIG] = json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
            )
            os.environ[SHARED] = "true"
            _begin()
            try:
                # It listens on all addresses, takes whoever comes for one of the ranks, and waits for them
                # with Python's lock: no thread could look after its sockets meanwhile.
                ports.expect(reserved, senders)
                self.strategy = Strategy()
                ports.admit(self._port, senders)
            except BaseException:
                self._end()
                raise

    @contextmanager
    def scope(self) -> Iterator[None]:
        """The strategy is the current one.

        Raises LetheError at the end where it was not so all the time.
        """
        tf.distribute.experimental_set_strategy(self.strategy)
        watch = Watch(self._vain, _abort)
        try:
            yield
            if tf.distribute.get_strategy() is not self.strategy:
                raise LetheError(
                    "TensorFlow has forgotten the workers' strategy: what the function made after "
                    "clear_session() was not trained together; leave out that call, each trial begins with a "
                    "session of its own"
                )
        finally:
            watch.end()
            tf.distribute.experimental_set_strategy(None)

    def _gathered(self, what: str, own: str) -> list[str]:
        """That of each rank."""
        self._store.set(f"tensorflow/{what}/{self._rank}", own)
        return [self._store.get(f"tensorflow/{what}/{rank}").decode() for rank in range(self._world)]

    def train(self, model: Any) -> Any:
        """A model of Keras, on which each rank validates and predicts as one worker does.

        Raises LetheError for a model that was made outside of the strategy.
        """
        # Keras 3 and 2: without it they take the one that is current.
        made_in = [getattr(model, name, None) for name in ("_distribute_strategy", "_distribution_strategy")]
        if self.strategy not in made_in:
            raise LetheError(
                f"the model {model.name} was made before the function was called; make it in the generator "
                "or in the function, so that several workers can train it together"
            )
        own = type(model)
        methods = {name: _with_purpose(own, name, self.strategy) for name in PURPOSES}
        if hasattr(own, "_maybe_symbolic_build"):
            methods["_maybe_symbolic_build"] = _symbolic_build
        model.__class__ = type(own.__name__, (own,), {**methods, "__module__": own.__module__})
        return model

    def close(self, together: bool) -> None:
        """together: all ranks have come to this end, and what one still wants of another is done first."""
        end = time.monotonic() + (LAST if together else 0.0)
        while time.monotonic() < end and not self._all_there():
            time.sleep(0.02)
        self._end()

    def _all_there(self) -> bool:
        try:
            return self._store.check([f"ended/{rank}" for rank in range(self._world)])
        except GroupLost:
            # The attempt is over for all.
            return True

    def _end(self) -> None:
        for name in (CONFIG, SHARED):
            os.environ.pop(name, None)
        # TensorFlow's server has no end of its own.
        ports.close(self._port)


def _with_purpose(own: type[Any], name: str, strategy: Strategy) -> Any:
    @functools.wraps(getattr(own, name))
    def run(self: Any, *given: Any, **named: Any) -> Any:
        with strategy.for_purpose(PURPOSES[name]):
            return getattr(own, name)(self, *given, **named)

    return run


def _symbolic_build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
    """Keras 3 makes all variables before it trains under a strategy, by shapes of the first batch: here by
    those that the dataset says, since to read it is to take it for an epoch."""
    if data_batch is None:
        spec = iterator.data_adapter.get_tf_dataset().element_spec
        data_batch = tf.nest.map_structure(
            lambda one: tf.zeros([1 if size is None else size for size in one.shape], one.dtype), spec
        )
    with self.distribute_strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def _abort(reason: str) -> None:
    from tensorflow.python.eager import context

    context.context().abort_collective_ops(tf.errors.UNAVAILABLE, reason)


def _begin() -> None:
    """Collectives are set up before anything is computed: what an earlier trial has left goes."""
    global _left
    from tensorflow.python.eager import context

    # Its session would begin anew in the strategy's scope.
    with suppress(ImportError):
        importlib.import_module("keras")
    if context.context()._context_handle is not None:
        context._reset_context()
    _left = True


def tidy() -> None:
    """After a trial: the next one, on one worker say, begins with a TensorFlow that knows no others."""
    global _left
    if _left:
        _left = False
        from tensorflow.python.eager import context

        gc.collect()
        context._reset_context()
