"""``python -m lethe.pack env.tar.gz``: what Spark's executors need of this environment, in an archive.

Lethe, its dependencies, and libtorch's C++ libraries: native slots need no torch in Python. The archive has
venv-pack's format: a virtual environment that works wherever it is unpacked, as ``--archives`` does.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lethe import process
from lethe.errors import ConfigError, InstallError, LetheError
from lethe.version import PACKED, TORCH, require_torch

#: What a driver needs that itself runs in the cluster, and executors do not.
OF_THE_DRIVER = "lethe/bin/lethe-driver"


@dataclass(frozen=True)
class Archive:
    """A packed environment.

    path: of the archive. packages: name and version of each distribution in it. python: the interpreter that
    its hosts must have at this path; the archive links to it.
    """

    path: Path
    packages: dict[str, str]
    python: Path

    def submit(self, script: str = "yours.py", master: str = "spark://HOST:7077") -> str:
        """The spark-submit command that ships it."""
        return " \\\n  ".join(
            (
                f"spark-submit --master {master}",
                f"--archives {shlex.quote(str(self.path))}#environment",
                "--conf spark.pyspark.python=./environment/bin/python",
                f"--conf spark.pyspark.driver.python={shlex.quote(sys.executable)}",
                script,
            )
        )


def pack(
    output: str | os.PathLike[str],
    packages: Sequence[str] = (),
    *,
    driver: bool = False,
    python_prefix: str | None = None,
    compress_level: int = 1,
) -> Archive:
    """Packs the running interpreter's virtual environment; an archive that is there is replaced.

    output: ``….tar.gz``, ``….tgz`` or ``….zip``. packages: distributions that go in with Lethe, each with
        what it requires: what your own functions import. With "torch" Python's torch goes in, CUDA's
        libraries too (gigabytes).
    driver: also what a driver in the cluster needs (``--deploy-mode cluster``): its binary, and torch.
    python_prefix: the prefix of the same Python on the executors' hosts, where it is another than here:
        ``/usr`` of ``/usr/bin/python3.11``.
    compress_level: gzip's, 0 to 9.

    Raises ConfigError for an output of another kind, InstallError if this is no virtual environment, or if it
    lacks venv-pack or one of the packages.
    """
    path = Path(output).absolute()
    if not path.name.endswith((".tar.gz", ".tgz", ".zip")):
        raise ConfigError(f"Spark unpacks .tar.gz, .tgz and .zip, and {output} is none of them")
    if sys.prefix == sys.base_prefix:
        raise InstallError(
            f"{sys.executable} is in no virtual environment; make one (python -m venv), install lethe there, "
            "and run this with its python; environments of conda are packed with conda-pack"
        )
    try:
        from venv_pack import Env, File, VenvPackException
    except ImportError:
        raise InstallError(
            f"{sys.executable} has no venv-pack, which writes the archive; run: pip install 'lethe[pack]'"
        ) from None

    wanted = ["lethe", *packages, *(["torch"] if driver else [])]
    found = dict(_closure(wanted))
    kept = {target: source for each in found.values() for source, target in _files(each)}
    if not driver:
        kept = {target: source for target, source in kept.items() if not target.endswith(OF_THE_DRIVER)}
    if "torch" not in found:
        kept |= {f"{_site()}/lethe/{PACKED.name}/{name}": path for name, path in _libtorch().items()}
    try:
        env = Env(sys.prefix)
        skeleton = [file for file in env.files if _is_interpreter(file.target)]
        env.files = skeleton + [File(str(source), target) for target, source in sorted(kept.items())]
        env.pack(str(path), python_prefix=python_prefix, force=True, compress_level=compress_level)
    except VenvPackException as error:
        raise InstallError(f"venv-pack could not pack {sys.prefix}: {error}") from error
    # venv-pack leaves it readable to its writer alone.
    path.chmod(0o644)
    python = Path(sys.executable).resolve()
    if python_prefix is not None:
        python = Path(python_prefix) / "bin" / python.name
    return Archive(path, {name: found[name].version for name in sorted(found)}, python)


def _is_interpreter(target: str) -> bool:
    return target == "lib64" or target.startswith("bin/python")


def _site() -> str:
    """The folder of packages, from the environment's own."""
    return f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _closure(names: Iterable[str]) -> Iterator[tuple[str, importlib.metadata.Distribution]]:
    """The distributions and all that they require here, by normalized name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    waiting, seen = [Requirement(name) for name in names], set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), requirement.extras | {""}
        if (name, *sorted(extras)) in seen:
            continue
        seen.add((name, *sorted(extras)))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise InstallError(
                f"{sys.executable} has no {name}, which is to be packed; run: pip install {name}"
            ) from None
        yield name, distribution
        for text in distribution.requires or ():
            required = Requirement(text)
            marker = required.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(required)


def _files(distribution: importlib.metadata.Distribution) -> Iterator[tuple[Path, str]]:
    """Each installed file, and where it goes within the environment.

    Raises InstallError where they are not known, or are not its code.
    """
    name = distribution.metadata["Name"]
    if distribution.files is None:
        raise InstallError(f"{name} was installed without a list of its files; install it with pip")
    # Of PEP 610.
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        folder = shlex.quote(unquote(urlsplit(origin["url"]).path))
        raise InstallError(
            f"{name} is installed as editable, its code is not in this environment; install it without -e: "
            f"pip install {folder}"
        )
    for file in distribution.files:
        # "../../../bin/tqdm" lies beside the packages; what is missing has been removed since.
        target, source = os.path.normpath(f"{_site()}/{file}"), Path(str(distribution.locate_file(file)))
        if source.is_file() and not target.startswith(".."):
            yield source, target


def _libtorch() -> dict[str, Path]:
    """The libraries that the trainer loads of the installed torch and of the packages beside it, by the names
    it asks for."""
    folder = require_torch()
    trainer = process.binary("lethe-trainer")
    done = subprocess.run(
        ["ldd", str(trainer)],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines() if "=>" in line]
    packages = folder.resolve().parents[1]
    libraries = {words[0]: Path(words[2]).resolve() for words in lines if words[2].startswith("/")}
    libraries = {name: path for name, path in libraries.items() if path.is_relative_to(packages)}
    if "libtorch_cpu.so" not in libraries:
        raise InstallError(f"{trainer} does not find libtorch in {folder}: {done.stdout}{done.stderr}")
    return libraries


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lethe.pack", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("output", help="the archive: env.tar.gz")
    parser.add_argument(
        "--with", nargs="+", default=[], metavar="PACKAGE", dest="packages", help="what your functions import"
    )
    parser.add_argument("--driver", action="store_true", help="also for a driver in the cluster; with torch")
    parser.add_argument("--python-prefix", metavar="DIR", help="where the executors' hosts have this Python")
    parser.add_argument("--compress-level", type=int, default=1, choices=range(10), metavar="0..9")
    options = parser.parse_args()
    begin = time.monotonic()
    try:
        archive = pack(
            options.output,
            options.packages,
            driver=options.driver,
            python_prefix=options.python_prefix,
            compress_level=options.compress_level,
        )
    except LetheError as error:
        parser.exit(1, f"lethe.pack: {error}\n")
    torch = "" if "torch" in archive.packages else f" and libtorch {TORCH}"
    listed = ", ".join(f"{name} {version}" for name, version in archive.packages.items())
    print(f"{options.output}: {listed}{torch}")
    print(f"{archive.path.stat().st_size / 1e6:.0f} MB in {time.monotonic() - begin:.0f} s")
    print(f"executors need {archive.python} on their hosts, and nothing else:\n\n{archive.submit()}")


if __name__ == "__main__":
    main()
