"""Whether this process is a notebook's kernel."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any | None:
    """IPython's shell, if it is a kernel's, which can display; None in a terminal, in a script, and in a
    kernel without IPython (Livy's). Imports nothing: a kernel has imported IPython."""
    ipython = sys.modules.get("IPython")
    found = None if ipython is None else ipython.get_ipython()
    # By its name: the shells of hosted notebooks inherit from it.
    return found if any(cls.__name__ == "ZMQInteractiveShell" for cls in type(found).__mro__) else None
