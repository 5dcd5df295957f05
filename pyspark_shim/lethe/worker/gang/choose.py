"""Whether a trial has other workers."""

from __future__ import annotations

from typing import Any

from lethe import flight
from lethe.worker.bundle import Bundle
from lethe.worker.exchange import Attempt
from lethe.worker.gang.alone import Alone
from lethe.worker.gang.face import Workers
from lethe.worker.gang.several import Several


def workers_of(peer: flight.Peer, spec: dict[str, Any], attempt: Attempt, bundle: Bundle) -> Workers:
    """spec: the message `TrialSpec`."""
    return Several(peer, spec, attempt, bundle.sharding, bundle.strategy) if spec.get("gang") else Alone()
