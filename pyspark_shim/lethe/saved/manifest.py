"""The manifest of a saved model: it is written last, and says what each of the files holds.

A folder without it is no model yet. A file that is not what it says belongs to another: the model is being
replaced, or was damaged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from lethe.errors import ModelError
from lethe.saved.store import Store

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 1 << 20
#: Descriptions: JSON, and the schema.
DESCRIPTION_BYTES = 64 << 20
#: A program or a state dict.
WEIGHTS_BYTES = 16 << 30

EXPERIMENT = "experiment.json"
PREPROCESSING = "preprocessing.json"
SCHEMA = "schema.arrow"
PROGRAM = "model.pt"
STATE = "state_dict.pt"
#: The most bytes of each file.
FILES = {
    EXPERIMENT: DESCRIPTION_BYTES,
    PREPROCESSING: DESCRIPTION_BYTES,
    SCHEMA: DESCRIPTION_BYTES,
    PROGRAM: WEIGHTS_BYTES,
    STATE: WEIGHTS_BYTES,
}


def write(store: Store, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """The files, then their manifest.

    Raises ModelError if there is a model already and it is not to be overwritten, or writing fails.
    """
    replaces = store.read(MANIFEST, MANIFEST_BYTES) is not None
    if replaces:
        if not overwrite:
            raise ModelError(
                f"there is a model at {store.url} already; save it elsewhere, or replace it: "
                "save(…, overwrite=True)"
            )
        store.delete(MANIFEST)
    for name, content in files.items():
        store.write(name, content)
    # What the model before had and this one has not.
    for name in FILES.keys() - files.keys() if replaces else ():
        store.delete(name)
    described = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    text = json.dumps({"format": FORMAT, "files": described}, indent=1) + "\n"
    store.write(MANIFEST, text.encode())


class Manifest:
    """The files of the model that is there now.

    Raises ModelError if there is none, or its manifest is none.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        content = store.read(MANIFEST, MANIFEST_BYTES)
        if content is None:
            why = ": there is no such folder" if store.is_missing() else f", for it has no {MANIFEST}"
            raise ModelError(f"there is no model at {store.url}{why}; save one: result.save(…)")
        try:
            found = json.loads(content)
            if found["format"] != FORMAT:
                raise ValueError(f"of the format {found['format']!r}, and this Lethe reads {FORMAT}")
            self._files: dict[str, dict[str, Any]] = {
                name: _entry(found["files"][name]) for name in found["files"]
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{store.url}/{MANIFEST} is no model's manifest: {error}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> bytes:
        """A file, as the manifest has it.

        Raises ModelError if it is another, or not there.
        """
        entry = self._files.get(name)
        if entry is None:
            raise ModelError(f"the model at {self._store.url} has no {name}")
        content = None
        if entry["bytes"] <= FILES[name]:
            content = self._store.read(name, FILES[name])
        if (
            content is None
            or len(content) != entry["bytes"]
            or hashlib.sha256(content).hexdigest() != entry["sha256"]
        ):
            raise ModelError(
                f"{self._store.url}/{name} is not what {MANIFEST} says: the model is being replaced, or is "
                "damaged; load it again, or save it anew"
            )
        return content


def _entry(found: Any) -> dict[str, Any]:
    size, digest = found["bytes"], found["sha256"]
    if not isinstance(size, int) or size < 0 or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("a file's size or hash is none")
    return {"bytes": size, "sha256": digest}
