"""Modules that stand in for one that is left out."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import linecache
import textwrap
from types import FunctionType
from typing import Any

from torch import nn

#: Numbers of the made-up source files, which TorchScript reads.
_FILES = itertools.count()


def bypass(module: nn.Module) -> nn.Module:
    """What passes on its first argument where `module` was; of a list or dictionary of modules an empty one.

    It takes the arguments of the module's own `forward`, by the same names and types, so that callers are
    scripted as before. Where that has no source it is `nn.Identity`, which takes one.
    """
    if isinstance(module, nn.ModuleList):
        return nn.ModuleList()
    if isinstance(module, nn.ModuleDict):
        return nn.ModuleDict()
    kind: Any = type(module)
    stand_in: nn.Module = _kind(kind)()
    return stand_in


# One class for each class: modules of equal structure are scripted once.
@functools.lru_cache(maxsize=256)
def _kind(of: Any) -> Any:
    try:
        signature = inspect.signature(of.forward)
        if list(signature.parameters)[1:] == ["input"]:
            return nn.Identity
        return type("Bypass", (nn.Module,), {"__module__": __name__, "forward": _forward(of.forward)})
    except (OSError, TypeError, ValueError, SyntaxError):
        return nn.Identity


def _forward(of: Any) -> FunctionType:
    """A method with the arguments of `of`, which returns the first.

    Raises OSError, TypeError, ValueError or SyntaxError where there is no source that can be read.
    """
    [function] = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    if not isinstance(function, ast.FunctionDef) or not isinstance(of, FunctionType):
        raise TypeError("no function")
    named = [*function.args.posonlyargs, *function.args.args]
    if len(named) < 2:
        raise TypeError("no argument")
    function.decorator_list, function.returns = [], None
    function.body = [ast.Return(ast.Name(named[1].arg, ast.Load()))]
    text = ast.unparse(ast.fix_missing_locations(function)) + "\n"
    # TorchScript reads sources, by their file: this one is in memory only. Its annotations and defaults mean
    # what they mean where `of` was defined.
    file = f"<lethe bypass {next(_FILES)}>"
    scope = dict(of.__globals__)
    scope.update({name: cell.cell_contents for name, cell in _cells(of)})
    exec(compile(text, file, "exec"), scope)
    made = scope[function.name]
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    if not isinstance(made, FunctionType):
        raise TypeError("no function")
    made.__name__, made.__qualname__ = "forward", "Bypass.forward"
    return made


def _cells(of: FunctionType) -> list[tuple[str, Any]]:
    return list(zip(of.__code__.co_freevars, of.__closure__ or (), strict=True))
