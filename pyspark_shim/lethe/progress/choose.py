"""Which way an experiment is shown."""

from __future__ import annotations

import sys

from lethe.flight import Peer
from lethe.notebook import kernel
from lethe.progress.base import Progress, Quiet
from lethe.progress.line import Line
from lethe.progress.plain import Plain
from lethe.progress.rows import Rows
from lethe.progress.standing import Standing


def choose(standing: Standing, metrics: tuple[str, ...], slots: int, peer: Peer, *, quiet: bool) -> Progress:
    """A table where a kernel can display one, a live line where stderr is a terminal, else lines now and
    then.

    metrics: the names of the experiment's metrics. slots: how many it asks for. peer: the driver.
    """
    if quiet:
        return Quiet(standing)
    if kernel.shell() is not None:
        from lethe.progress.table import Table

        return Table(standing, metrics, slots, Rows(peer, standing.name))
    return Line(standing) if sys.stderr.isatty() else Plain(standing)
