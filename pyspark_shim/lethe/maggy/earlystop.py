"""Maggy's early stopping policies, as objects."""

from __future__ import annotations

from lethe.errors import ConfigError
from lethe.stopping.base import StoppingRule
from lethe.stopping.curves import Median


class AbstractEarlyStop:
    """What these have in common."""

    def rule(self, interval: int, minimum: int) -> StoppingRule | None:
        """Lethe's rule. interval: `es_interval`; minimum: `es_min`."""
        raise ConfigError(
            f"{type(self).__name__}: a policy of your own cannot be asked; give one of lethe.ASHA, "
            "Hyperband, Median, Threshold, Patience and PBT as es_policy="
        )


class MedianStoppingRule(AbstractEarlyStop):
    """A trial ends that is worse than the median of the others at its step."""

    def rule(self, interval: int, minimum: int) -> StoppingRule:
        # Maggy waits until there are more than `es_min`.
        return Median(min_trials=minimum + 1, min_epochs=interval)


class NoStoppingRule(AbstractEarlyStop):
    """No trial ends early."""

    def rule(self, interval: int, minimum: int) -> None:
        return None


__all__ = ["AbstractEarlyStop", "MedianStoppingRule", "NoStoppingRule"]
