"""What all stopping rules have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lethe.space.space import SearchSpace


class StoppingRule(ABC):
    """Decides at a trial's reports whether it goes on. With several objectives it looks at the first."""

    @abstractmethod
    def message(self, space: SearchSpace) -> dict[str, Any]:
        """The message `Stopping`.

        Raises ConfigError if the rule has nothing to do with this space.
        """
