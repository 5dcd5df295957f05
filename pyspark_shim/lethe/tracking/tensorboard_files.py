"""One experiment's event files."""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lethe.tracking.tracker import About, Outcome, Report, Sink, Trial

#: Ends the names of files that are written here; TensorBoard knows event files by what these begin with.
OWN = ".lethe"
#: Makes names differ that one process gives within one second.
_NUMBER = itertools.count()


class Files(Sink):
    """Files are open only while something is written: there may be more trials than a process may have open
    files. An experiment that goes on writes further ones, after the last epoch of those that are there."""

    def __init__(self, directory: Path) -> None:
        self._root = self._folder = directory
        self._about: About | None = None
        who = f"{socket.gethostname()}.{os.getpid()}.{next(_NUMBER)}"
        self._name = f"events.out.tfevents.{int(time.time())}.{who}{OWN}"
        #: Of each trial that was begun here: after which epoch it has an end; -1 if it has none.
        self._ended: dict[int, int] = {}

    def begin(self, about: About, at: int) -> None:
        self._about, self._folder = about, self._root / about.name
        if not about.resumed:
            # Of another experiment that had its name.
            for former in self._folder.glob(f"**/events.out.tfevents.*{OWN}"):
                former.unlink()

    def start(self, trial: Trial) -> int:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        assert self._about is not None
        if trial.number in self._ended:
            return 0
        epoch, begun, ended = self._there(trial.number)
        if not begun:
            hparams = {name: _hparam(value) for name, value in trial.hparams.items()}
            # Sessions of one name are shown as one: an ablation's repetitions, and no other experiment's.
            group = f"{self._about.name} {self._about.name_of(trial.number)}"
            self._write(
                trial.number, [_event(trial.began, 0, hparams_pb(hparams, group, trial.began / 1000))]
            )
        self._ended[trial.number] = ended
        return epoch

    def report(self, trial: int, reports: Sequence[Report]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        events = []
        for report in reports:
            summary = Summary()
            for name, value in report.metrics.items():
                summary.MergeFrom(scalar_pb(name, value))
            events.append(_event(report.at, report.epoch, summary))
        self._write(trial, events)

    def end(self, trial: Trial) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        if self._ended.get(trial.number) == trial.epochs:
            return
        status = api_pb2.STATUS_FAILURE if trial.state == "failed" else api_pb2.STATUS_SUCCESS
        at = trial.ended or trial.began
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=at / 1000)
        summary, about = Summary(), plugin_data_pb2.HParamsPluginData(session_end_info=info)
        # What tensorboard.plugins.hparams.summary makes, which needs TensorFlow.
        summary.value.add(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(about),
            tensor=metadata.NULL_TENSOR,
        )
        self._write(trial.number, [_event(at, trial.epochs, summary)])
        self._ended[trial.number] = trial.epochs

    def finish(self, outcome: Outcome) -> None:
        return

    def _of(self, trial: int) -> Path:
        return self._folder / f"trial-{trial:04}"

    def _write(self, trial: int, events: Iterable[Any]) -> None:
        """All of them, or none: what comes after a torn record would not be read."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self._of(trial)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / self._name, "ab", buffering=0) as file:
            begin, records = file.tell(), io.BytesIO()
            writer = RecordWriter(records)
            if begin == 0:
                writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            for event in events:
                writer.write(event.SerializeToString())
            if file.write(records.getbuffer()) < records.tell():
                file.truncate(begin)
                raise OSError(f"{folder} is full")

    def _there(self, trial: int) -> tuple[int, bool, int]:
        """Of a trial in the files of runs before this one: its last epoch, whether it has a beginning, and
        after which epoch an end."""
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.hparams import metadata

        epoch, begun, ended = 0, False, -1
        for path in self._of(trial).glob(f"events.out.tfevents.*{OWN}"):
            # To its end, or to a record that is torn.
            for record in RawEventFileLoader(str(path)).Load():
                event = Event.FromString(record)
                tags = {value.tag for value in event.summary.value}
                if metadata.SESSION_START_INFO_TAG in tags:
                    begun = True
                elif metadata.SESSION_END_INFO_TAG in tags:
                    ended = max(ended, event.step)
                elif tags:
                    epoch = max(epoch, event.step)
        return epoch, begun, ended


def _event(at: int, step: int, summary: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at / 1000, step=step, summary=summary)


def _hparam(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
