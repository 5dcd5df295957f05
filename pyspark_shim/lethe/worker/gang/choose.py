"""Whether a trial has other workers."""

from __future__ import annotations

from typing import Any

from lethe import flight
from lethe.worker.exchange import Attempt
from lethe.worker.gang.alone import Alone
from lethe.worker.gang.face import Workers
from lethe.worker.gang.several import Several


def workers_of(peer: flight.Peer, spec: dict[str, Any], attempt: Attempt, sharding: str | None) -> Workers:
    """spec: the message `TrialSpec`."""
    return Several(peer, spec, attempt, sharding) if spec.get("gang") else Alone()
