"""One attempt at one trial: the user's function, from its arguments to what came of it."""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import Any

from lethe import context
from lethe.experiment.blame import raised
from lethe.model.inputs import inputs_of
from lethe.worker import arrays, folder, seeding
from lethe.worker.bundle import Bundle
from lethe.worker.checkpoint import Checkpoint
from lethe.worker.data import TrialData
from lethe.worker.exchange import Exchange, Job
from lethe.worker.gang.choose import workers_of
from lethe.worker.model import Models
from lethe.worker.outbox import Outbox
from lethe.worker.prints import Printed
from lethe.worker.reporter import Moment, Reporter
from lethe.worker.stopped import TrialStopped

_previous_end: float | None = None


def run(bundle: Bundle, job: Job, exchange: Exchange, printed: Printed) -> None:
    """Runs the attempt, and says how it ended. Exceptions of the function are the trial's failure."""
    global _previous_end
    spec = job.run["spec"]
    speaks = (spec.get("gang") or {"rank": 0})["rank"] == 0
    outbox = Outbox(exchange, printed, spec["trial"], spec["attempt"], speaks)
    attempt = _Attempt(bundle, job, exchange, outbox)
    outcome, weights = attempt.run()
    workers, first, end = attempt.workers, attempt.began, time.monotonic()
    # What the function was given goes with it.
    del attempt
    timing = {"idle_s": 0.0, "setup_s": 0.0, "train_s": 0.0}
    if first is not None:
        idle = 0.0 if _previous_end is None else first - _previous_end
        timing = {"idle_s": idle, "setup_s": first - job.arrived, "train_s": end - first}
    outbox.close()
    failed = outcome["type"] == "failed"
    if workers.spent and not failed:
        # Its end is the attempt's, so that no other is handed to it.
        print(f"lethe: {outcome.get('error', 'the attempt was broken off')}", file=sys.__stderr__, flush=True)
        os._exit(1)
    # What has failed may have broken the process, as an error of the GPU does: another takes its place before
    # the slot has its next trial.
    last = workers.spent or (failed and not _is_tidied())
    ended = {"type": "ended", "trial": spec["trial"], "attempt": spec["attempt"]}
    exchange.send({**ended, "outcome": outcome, "timing": timing, "weights": weights}, last=last)
    _previous_end = time.monotonic()
    # After its own word: workers whose connections this ends are asked for theirs.
    workers.leave(outcome["type"])
    if last:
        os._exit(1)
    if not failed:
        _tidy()
    mirrored = sys.modules.get("lethe.worker.gang.mirrored")
    if mirrored is not None:
        mirrored.tidy()


class _Attempt:
    def __init__(self, bundle: Bundle, job: Job, exchange: Exchange, outbox: Outbox) -> None:
        self._bundle, self._run, self._spec = bundle, job.run, job.run["spec"]
        self._exchange, self._outbox = exchange, outbox
        self._models: Models | None = None
        self._moment: Moment | None = None
        self._reporter: Reporter | None = None
        self._told = exchange.begin(self._spec["trial"], self._spec["attempt"])
        #: Those of the trial.
        self.workers = workers_of(exchange.peer, self._spec, self._told, bundle)
        every = self._spec.get("checkpoint_every_s")
        self._checkpoint = Checkpoint(job.run.get("checkpoint"), every, self.workers)
        #: When the function was called.
        self.began: float | None = None

    def run(self) -> tuple[dict[str, Any], str | None]:
        """The message `Outcome`, and where the weights are that are kept."""
        try:
            self._call()
            told = None if self._reporter is None else self._reporter.told
            # A function that takes its end for an error and returns has ended all the same.
            how = told or "finished"
        except TrialStopped:
            # Before it was called only the driver ends it.
            how = (self._reporter.told if self._reporter is not None else None) or "stopped"
        except BaseException as error:
            # SystemExit too: the worker goes on.
            failed = {"type": "failed", "error": raised("the training function", error)}
            return self.workers.outcome(error) or failed, None
        kept = None if how == "paused" else self._keep()
        # Another worker than the first has no checkpoint to show for a pause.
        return {"type": "stopped" if how == "paused" and self.workers.rank > 0 else how}, kept

    def _call(self) -> None:
        spec = self._spec
        self.workers.join()
        context.enter(self.workers.rank, self.workers.world, self.workers.parallel)
        drawing = 0 if self.workers.alike else self.workers.rank
        seeding.seed_all(seeding.of_rank(spec["seed"], drawing))
        with self.workers.scope():
            self._train()

    def _train(self) -> None:
        spec, run = self._spec, self._run
        # The function may change it: it is the trial's own.
        hparams = dict(spec["hparams"])
        meta = self._checkpoint.meta()
        generator = self._bundle.models.get(spec["trial"], self._bundle.model)
        view = run.get("view")
        if generator is not None:
            inputs = None if view is None else inputs_of(view["inputs"])
            precision = self._bundle.precision
            self._models = Models(generator, hparams, inputs, spec["seed"], self.workers, precision)
        self._moment = Moment(spec, meta, self._snapshot)
        best = spec["objective"]["select"] == "best" and self._moment.epoch is not None
        if self._models is not None and best:
            self._models.restore(self._checkpoint.model())
        reporter = Reporter(
            spec, self._told, self._outbox, self._checkpoint, self._moment, self._save, self.workers
        )
        self._reporter = reporter
        given: dict[str, Any] = {}
        for name in self._bundle.arguments:
            if name == "model":
                assert self._models is not None
                given[name] = self._models.make if self._bundle.generates else self._models.make()
            elif name == "dataset":
                shares = self.workers.shares
                given[name] = None if view is None else TrialData(self._exchange.peer, spec, view, shares)
            elif name == "hparams":
                given[name] = hparams
            elif name == "reporter":
                given[name] = reporter
            elif name == "checkpoint":
                given[name] = self._checkpoint
        self.began = time.monotonic()
        returned = self._bundle.function(**given)
        self.workers.returned()
        reporter.returned(returned)

    def _snapshot(self) -> None:
        if self._models is not None:
            self._models.snapshot()

    def _save(self, epoch: int, first: int) -> bool:
        """Writes a checkpoint and sends it on; False if the function has saved nothing."""
        assert self._moment is not None
        path = f"{self._run['checkpoints']}-{epoch}.arrow"
        best = {"best": self._moment.value, "best_epoch": self._moment.epoch}
        meta = {"epoch": epoch, "step": epoch, "first": first, **best}
        model = {} if self._models is None else self._models.at_hand()
        if not self._checkpoint.write(path, meta, model):
            return False
        # Reports go before the checkpoint that they belong to.
        self._outbox.flush()
        at = {"trial": self._spec["trial"], "attempt": self._spec["attempt"], "epoch": epoch}
        self._exchange.send({"type": "checkpoint", **at, "path": path})
        return True

    def _keep(self) -> str | None:
        """Writes the model's weights if they may be the experiment's best; where they are."""
        if self._models is None or self._moment is None or not self._moment.keeps():
            return None
        # Of several workers the first; what none of them has alone they collect together, which takes all.
        if self.workers.rank > 0 and not self.workers.sharded:
            return None
        try:
            kept = self._models.kept()
            if not kept or self.workers.rank > 0:
                return None
            arrays.write(self._run["weights"], kept)
        except Exception as error:
            # The trial's values are worth more than its weights.
            print(raised("keeping the model's weights", error), file=sys.stderr)
            return None
        return str(self._run["weights"])


def _is_tidied() -> bool:
    try:
        _tidy()
    except Exception as error:
        print(raised("tidying after a trial that failed", error), file=sys.__stderr__, flush=True)
        return False
    return True


def _tidy() -> None:
    """What the function has left goes before the next trial comes, memory of GPUs too.

    Raises what the GPU has against it: after an error of its own it computes no more in this process.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        # Where there is nothing to free, to empty the cache asks the GPU nothing.
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    folder.clear()
