"""A part's batches as a torch DataLoader and as a TensorFlow dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lethe.dataset.batches import Batching
from lethe.errors import ConfigError, InstallError

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

#: Gives the batches of one reading, in a form.
Read = Callable[[Batching, str], Iterator[Any]]


def dataloader(read: Read, batching: Batching, options: dict[str, Any]) -> DataLoader[Any]:
    """Each `for` over it is an epoch, with an order of its own."""
    from torch.utils.data import DataLoader, IterableDataset

    for name in ("sampler", "batch_sampler", "collate_fn", "worker_init_fn"):
        if options.get(name) is not None:
            raise ConfigError(f"to_dataloader: batches come made from the executor; leave out {name}")
    if options.get("num_workers"):
        raise ConfigError("to_dataloader: the executor makes the batches; leave out num_workers")

    class Epochs(IterableDataset):  # type: ignore[misc]
        """epoch: the next one."""

        def __init__(self) -> None:
            self.epoch = batching.epoch

        def __iter__(self) -> Iterator[Any]:
            epoch, self.epoch = self.epoch, self.epoch + 1
            return read(replace(batching, epoch=epoch), "torch")

    return DataLoader(Epochs(), batch_size=None, **options)


def tensorflow(
    read: Read, batching: Batching, sections: list[dict[str, Any]], plain: bool, sharded: bool = False
) -> Any:
    """A `tf.data.Dataset` of `(inputs, label, weight)`, as far as there are; each reading is an epoch.

    sections: name, dtype and shape of one row of each column. plain: the one input stands for itself.
    sharded: the rows are those of one of several workers.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InstallError(f"to_tf needs TensorFlow ({error}); install it: pip install tensorflow") from None
    specs = {
        section["name"]: tf.TensorSpec(shape=(None, *section["shape"]), dtype=getattr(tf, section["dtype"]))
        for section in sections
    }
    beside = [name for name in ("label", "weight") if name in specs]

    def arranged(columns: dict[str, Any]) -> Any:
        inputs = {name: column for name, column in columns.items() if name not in beside}
        first = next(iter(inputs.values())) if plain else inputs
        return (first, *(columns[name] for name in beside)) if beside else first

    epoch = batching.epoch

    def generate() -> Iterator[Any]:
        nonlocal epoch
        now, epoch = epoch, epoch + 1
        return (arranged(columns) for columns in read(replace(batching, epoch=now), "numpy"))

    dataset = tf.data.Dataset.from_generator(generate, output_signature=arranged(specs))
    if not sharded:
        return dataset
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)
