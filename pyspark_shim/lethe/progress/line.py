"""One live line: trials done, stopped, failed, paused, running, and the best so far."""

from __future__ import annotations

import sys
from typing import Any

#: Characters of a line that has not ended.
LINE = 10_000


class ProgressLine:
    """A `tqdm.auto` bar, so that a notebook shows it as well; silent if `quiet`.

    total: trials; None where the budget does not count them.
    """

    def __init__(self, name: str, total: int | None, metric: str, quiet: bool) -> None:
        self._quiet, self._metric, self._bar = quiet, metric, None
        #: Of each trial, the beginning of a line that it has printed.
        self._unfinished: dict[int, str] = {}
        if not quiet:
            import warnings

            with warnings.catch_warnings():
                # In a notebook without ipywidgets tqdm.auto warns and shows text.
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm
            self._bar = tqdm(total=total, desc=name, unit="trial", dynamic_ncols=True, mininterval=0.2)

    def show(self, progress: dict[str, Any]) -> None:
        """Shows a message `Progress`."""
        if self._bar is None:
            return
        bar: Any = self._bar
        bar.n = progress["finished"] + progress["stopped"] + progress["failed"]
        words = [
            f"{progress['stopped']} stopped",
            f"{progress['failed']} failed",
            f"{progress['running']} running",
        ]
        if progress["paused"] > 0:
            words.insert(2, f"{progress['paused']} paused")
        if progress["best"] is not None:
            words.append(f"best {self._metric} {progress['best']:.4g} (trial {progress['best_trial']})")
        bar.set_postfix_str(", ".join(words), refresh=False)
        bar.update(0)

    def notice(self, text: str) -> None:
        """A line above the bar, on stderr."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(f"lethe: {text}", file=sys.stderr)

    def log(self, trial: int, text: str) -> None:
        """What a trial's function has printed, on stdout, each whole line after the trial's number."""
        if self._quiet or self._bar is None:
            return
        *lines, rest = (self._unfinished.pop(trial, "") + text).split("\n")
        # Of a bar that is drawn over and over, the last.
        rest = rest.rsplit("\r", 1)[-1][-LINE:]
        if rest:
            self._unfinished[trial] = rest
        for line in lines:
            shown = line.rstrip("\r").rsplit("\r", 1)[-1]
            self._bar.write(f"trial {trial}: {shown}", file=sys.stdout)

    def close(self) -> None:
        if self._bar is not None:
            for trial in list(self._unfinished):
                self.log(trial, "\n")
            bar: Any = self._bar
            bar.refresh()
            bar.close()
