"""Fetches uvloop's source archive and unpacks its tests, once per checkout.

What is unpacked, under `target/`, is a folder to import from: `uvloop_tests`, their tests under a name that does not
collide with ours, and `uvloop._testbase`, their utilities. Nothing is compiled.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ..stdlib.runner import ROOT

HERE = Path(__file__).parent
REQUIREMENT = HERE / "uvloop.txt"
STAND_IN = HERE / "stand_in"
PACKAGE = "uvloop_tests"


def import_path() -> list[str]:
    """The folders to import from: with `uvloop` from the first, and the rest of what it consists of from the second."""
    return [str(STAND_IN), str(_unpacked())]


def _unpacked() -> Path:
    """The archive's folder; made when it is missing."""
    digest = REQUIREMENT.read_text(encoding="utf-8").rpartition("sha256:")[2].strip()
    folder = ROOT / "target" / "peers" / digest[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            complete = _unpack(_download(Path(temporary)), Path(temporary, "complete"))
            _move(complete, folder)
    return folder


def _download(folder: Path) -> Path:
    """The archive, checked against its hash by pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", "uvloop", "--requirement", str(REQUIREMENT)]
    subprocess.run([*command, "--dest", str(folder)], check=True, stdin=subprocess.DEVNULL)
    (archive,) = folder.glob("uvloop-*.tar.gz")
    return archive


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    wanted = folder / "wanted"
    shutil.copytree(source / "tests", wanted / PACKAGE)
    wanted.joinpath("uvloop").mkdir()
    shutil.copy(source / "uvloop" / "_testbase.py", wanted / "uvloop")
    return wanted


def _move(complete: Path, folder: Path) -> None:
    try:
        complete.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another run was faster, with the same contents
            raise
