"""The files of a saved model: whole or not there, as their manifest says, and never unpickled."""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saving import result, rows

import lethe
from lethe.saved import manifest, options
from lethe.saved.store import Store


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Path(result()[0].save(tmp_path / "a" / "model"))


def forged(folder: Path, name: str, content: bytes) -> None:
    """The file and its manifest, as whoever can write there could."""
    (folder / name).write_bytes(content)
    found = json.loads((folder / "manifest.json").read_text())
    found["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(found))


def test_the_folder_has_these_files(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == sorted([*manifest.FILES, manifest.MANIFEST])
    module = torch.jit.load(saved / "model.pt")
    plain = torch.load(saved / "state_dict.pt", weights_only=True)
    assert all(torch.equal(plain[name], tensor) for name, tensor in module.state_dict().items())
    assert lethe.Preprocessing.load(saved / "preprocessing.json") == lethe.load(saved).preprocessing


def test_a_model_is_not_replaced_unasked(saved: Path) -> None:
    with pytest.raises(lethe.ModelError, match=r"a model at .* already; .*overwrite=True"):
        result()[0].save(saved)
    result(outputs=4)[0].save(saved, overwrite=True, task="output")
    assert lethe.load(saved).module()(torch.ones(1, 3)).shape == (1, 4)


def test_a_save_that_fails_leaves_no_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Store.write

    def full(store: Store, name: str, content: bytes) -> None:
        if name == "experiment.json":
            raise lethe.ModelError("no space")
        write(store, name, content)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(lethe.ModelError, match="no space"):
        result()[0].save(saved, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(lethe.ModelError, match=r"no model at .*, for it has no manifest.json"):
        lethe.load(saved)
    result()[0].save(saved)
    assert lethe.load(saved).predict(rows()).num_rows == 7


@pytest.mark.parametrize("name", sorted(manifest.FILES))
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"x" + content[1:], None])
def test_a_file_of_another_model_is_noticed(
    saved: Path, name: str, damage: Callable[[bytes], bytes] | None
) -> None:
    if damage is None:
        (saved / name).unlink()
    else:
        (saved / name).write_bytes(damage((saved / name).read_bytes()))
    with pytest.raises(lethe.ModelError, match=f"{name} is not what manifest.json says"):
        lethe.load(saved).state_dict()


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.parametrize("name", ["state_dict.pt", "model.pt"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_no_pickle_is_read(saved: Path, tmp_path: Path, name: str, form: str) -> None:
    mark, content = tmp_path / "mark", io.BytesIO()
    torch.save({"a": Bomb(mark)}, content) if form == "torch" else pickle.dump(Bomb(mark), content)
    forged(saved, name, content.getvalue())
    model = lethe.load(saved)
    with pytest.raises(lethe.ModelError, match=r"more than tensors|cannot be loaded"):
        model.state_dict() if name == "state_dict.pt" else model.module()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("experiment.json", b"{}", "experiment.json is no model's description"),
        ("experiment.json", b"\xff", "experiment.json is no model's description"),
        ("preprocessing.json", b'{"format": 1, "other": 2}', "preprocessing.json is no saved Preprocessing"),
        ("schema.arrow", b"no schema", "description cannot be read"),
    ],
)
def test_descriptions_that_are_none_are_errors(saved: Path, name: str, content: bytes, problem: str) -> None:
    forged(saved, name, content)
    with pytest.raises(lethe.ModelError, match=problem):
        lethe.load(saved)


def test_what_is_too_large_is_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(manifest.FILES, "model.pt", 100)
    with pytest.raises(lethe.ModelError, match=r"model.pt is not what"):
        lethe.load(saved)
    (saved / "manifest.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(lethe.ModelError, match="at most 1048576"):
        lethe.load(saved)


def test_a_manifest_of_another_format_says_so(saved: Path, tmp_path: Path) -> None:
    for text in ("[]", '{"format": 9, "files": {}}', '{"format": 1, "files": {"model.pt": {}}}'):
        (saved / "manifest.json").write_text(text)
        with pytest.raises(lethe.ModelError, match="is no model's manifest"):
            lethe.load(saved)
    with pytest.raises(lethe.ModelError, match=r"no model at .*none: there is no such folder"):
        lethe.load(tmp_path / "none")


def test_places_that_cannot_be_are_named(tmp_path: Path) -> None:
    found, _ = result()
    (tmp_path / "file").write_text("")
    with pytest.raises(lethe.ModelError, match=r"file/.* cannot be written"):
        found.save(tmp_path / "file")
    for url, problem in {
        "ftp://a/b": "not kept at ftp://; there are s3, gs",
        "s3:///key": "names no bucket",
        "az://container/a": "needs the account's name",
        "": "a path or a URL",
    }.items():
        with pytest.raises(lethe.ConfigError, match=problem):
            found.save(url)
    with pytest.raises(lethe.ConfigError, match="store_options are for a store"):
        found.save(tmp_path / "a", store_options={"aws_region": "x"})
    with pytest.raises(
        lethe.ConfigError, match="no option 'aws_secret'; there are: aws_access_key_id"
    ) as caught:
        found.save("s3://data/a", store_options={"aws_secret": "hidden"})
    assert "hidden" not in str(caught.value)


def test_options_are_those_of_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.split("_")[0] in ("AWS", "AZURE", "GOOGLE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key of the environment")
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9000/")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    given = {"access_key_id": "own", "AWS_SECRET_ACCESS_KEY": "b", "aws_virtual_hosted_style_request": "true"}
    assert options.s3(given) == {
        "access_key": "own",
        "secret_key": "b",
        "endpoint_override": "127.0.0.1:9000",
        "scheme": "http",
        "region": "us-east-1",
        "force_virtual_addressing": True,
    }
    assert options.s3({"aws_skip_signature": "true"})["anonymous"] is True
    assert "access_key" not in options.s3({"aws_skip_signature": "true"})
    assert options.azure({"azure_storage_account_key": "a2V5"}) == {
        "account_name": "account",
        "account_key": "a2V5",
    }
    google = options.google({"google_base_url": "http://localhost:4443", "google_skip_signature": "true"})
    assert google == {"endpoint_override": "localhost:4443", "scheme": "http", "anonymous": True}
    assert (
        Store("abfss://box@other.dfs.core.windows.net/a/b", {"azure_storage_account_key": "a2V5"})._base
        == "box/a/b"
    )
