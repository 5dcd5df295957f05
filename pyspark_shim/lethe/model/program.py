"""A module's program: its saved TorchScript with placeholders in place of the weights.

Equal architectures must give equal bytes, so that executors fetch and compile each once. Within a process
they mostly do; but a class that is defined inside the generator is another class at each call, and
TorchScript then numbers its name (`___torch_mangle_7`). Such programs are equal up to these numbers:
`canonical` renumbers them, and the first program of each canonical form stands for all.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Hashable
from typing import Any

import torch

from lethe.errors import ModelError
from lethe.model.script import save

#: A whole program, bytes; executors refuse more.
PROGRAM_BYTES = 256 << 20

_NAME = re.compile(r"__torch__(?:\.\w+)+")
_MANGLED = re.compile(r"\.___torch_mangle_\d+")
#: Entries without meaning for a run: an id of the saving, source positions for error messages.
_INCIDENTAL = ("/.data/serialization_id", ".debug_pkl")


#: Structures that are remembered; they hold the classes of modules.
STRUCTURES = 4096


class Programs:
    """The programs of one experiment, by structure and by canonical form. Keeps hashes, not bytes."""

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}
        self._structures: dict[Hashable, str] = {}

    def known(self, form: Hashable | None) -> str | None:
        """The hash of the program of modules of this structure, if there was one."""
        return None if form is None else self._structures.get(form)

    def remember(self, form: Hashable | None, found: str) -> None:
        """That modules of this structure have the program with this hash."""
        if form is not None:
            if len(self._structures) >= STRUCTURES:
                self._structures.clear()
            self._structures[form] = found

    def hash(self, scripted: Any) -> tuple[str, bytes | None]:
        """The program's SHA-256 in hex, and its bytes if no equal program came before."""
        saved = save_without_weights(scripted)
        form = canonical(saved)
        known = self._hashes.get(form)
        if known is not None:
            return known, None
        if len(saved) > PROGRAM_BYTES:
            raise ModelError(
                f"the model's program has {len(saved)} bytes without its weights, more than the limit of "
                f"{PROGRAM_BYTES}; "
                "turn large constant tensors into buffers (register_buffer)"
            )
        found = hashlib.sha256(saved).hexdigest()
        self._hashes[form] = found
        return found, saved


def save_without_weights(scripted: Any) -> bytes:
    """The saved module; each parameter and buffer is one zero, expanded to its shape. The module is spent."""
    seen: set[int] = set()
    for tensor in [*scripted.parameters(), *scripted.buffers()]:
        # By identity: what was tied stays tied.
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensor.data = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    buffer = io.BytesIO()
    save(scripted, buffer)
    return buffer.getvalue()


def canonical(saved: bytes) -> str:
    """SHA-256 of the archive's contents with the names of types renumbered in order of their first use."""
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if not name.endswith(_INCIDENTAL)}
    definitions = _definitions(entries)
    numbers: dict[str, int] = {}

    def renumbered(text: str) -> str:
        def number(found: re.Match[str]) -> str:
            name = found[0]
            while name not in definitions and "." in name:
                name = name.rpartition(".")[0]
            if name not in definitions:
                return found[0]
            place = numbers.setdefault(name, len(numbers))
            return f"<{place} {_MANGLED.sub('', name)}>{found[0][len(name) :]}"

        return _NAME.sub(number, text)

    digest = hashlib.sha256()
    # The object tree first: it names the types in an order that depends on the module alone. Then their
    # definitions, in the order of these numbers; each may name further ones.
    for name in sorted(entries):
        if name.endswith(".pkl"):
            digest.update(f"{name}\0{renumbered(_operations(entries[name]))}\0".encode())
    done = 0
    while done < len(numbers):
        name = list(numbers)[done]
        digest.update(f"{done}\0{renumbered(definitions[name])}\0".encode())
        done += 1
    for name in sorted(definitions.keys() - numbers.keys()):
        digest.update(f"{name}\0{definitions[name]}\0".encode())
    for name in sorted(entries):
        if not name.endswith((".pkl", ".py")):
            digest.update(name.encode() + b"\0" + entries[name] + b"\0")
    return digest.hexdigest()


def _definitions(entries: dict[str, bytes]) -> dict[str, str]:
    """The archive's classes and functions, by full name; each file holds some of one namespace."""
    found = {}
    for file, content in entries.items():
        if not file.endswith(".py"):
            continue
        namespace = file.partition("/code/")[2].removesuffix(".py").replace("/", ".")
        for block in re.split(r"^(?=class |def )", content.decode(), flags=re.MULTILINE):
            name = re.match(r"(?:class|def) (\w+)", block)
            if name is not None:
                found[f"{namespace}.{name[1]}"] = block
            elif block.strip():
                found[namespace] = block
    return found


def _operations(pickled: bytes) -> str:
    """A pickle's operations as text: names without their lengths. Nothing is unpickled."""
    lines = []
    for code, argument, _ in pickletools.genops(pickled):
        text = (
            argument.replace(" ", ".")
            if code.name == "GLOBAL" and isinstance(argument, str)
            else repr(argument)
        )
        lines.append(f"{code.name} {text}")
    return "\n".join(lines)
