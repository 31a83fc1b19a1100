"""Where the real servers come from: PATH, else Debian's packages, unpacked into a cache without root and without installing anything.

Only the standard library, so that it runs before anything is installed.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from rollbackd.errors import PermanentError

PACKAGES: Final = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "nginx": "nginx",
}
"""The Debian package of each program; nginx is for the tests."""

_NAMES: Final = {"alertmanager": ("prometheus-alertmanager", "alertmanager")}  # Debian's name, and upstream's
_TIMEOUT_SECONDS: Final = 300
_ADVICE: Final = "install prometheus and prometheus-alertmanager (on Debian with apt-get), or put their programs into PATH"


def find_programs(programs: Iterable[str], *, say: Callable[[str], None]) -> dict[str, Path]:
    """An executable for each of `programs` (keys of `PACKAGES`); `say` is told, in a line, what takes time.

    Raises:
        PermanentError: one is nowhere, and cannot be had here either; says what to do.
    """
    wanted = tuple(programs)
    missing = {PACKAGES[program] for program in wanted if _find(program) is None}
    if missing:
        say(f"fetching Debian's packages {', '.join(sorted(missing))} into {_cache()} (nothing is installed)")
        _unpack(sorted(missing))
    found = {program: _find(program) for program in wanted}
    nowhere = sorted(program for program, path in found.items() if path is None)
    if nowhere:
        raise PermanentError(f"Debian's packages do not hold {', '.join(nowhere)}: {_ADVICE}")
    return {program: path for program, path in found.items() if path is not None}


def unpacked(package: str, *, say: Callable[[str], None]) -> Path:
    """The files of one of Debian's packages, as they would lie under the root. Raises PermanentError, as `find_programs`."""
    if not (_cache() / package).is_dir():
        say(f"fetching Debian's package {package} into {_cache()} (nothing is installed)")
        _unpack([package])
    return _cache() / package


def _find(program: str) -> Path | None:
    unpacked = os.pathsep.join(str(_cache() / PACKAGES[program] / "usr" / directory) for directory in ("bin", "sbin"))
    for name in _NAMES.get(program, (program,)):
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin") or shutil.which(name, path=unpacked)
        if found is not None:
            return Path(found)
    return None


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "rollbackd" / "debian-packages"


def _unpack(packages: list[str]) -> None:
    """Download and unpack into a directory beside the final one, then rename: a cache entry is whole or absent."""
    apt_get, dpkg_deb = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt_get is None or dpkg_deb is None:
        raise PermanentError(f"this is no Debian (no apt-get): {_ADVICE}")
    _cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=_cache()) as work:
        directory = Path(work)
        _download(apt_get, packages, directory)
        for archive in sorted(directory.glob("*.deb")):
            package = archive.name.partition("_")[0]
            tree = directory / package
            _run([dpkg_deb, "-x", str(archive), str(tree)], directory)
            _relocate(tree / "usr" / "bin" / "prometheus-alertmanager")
            try:
                tree.rename(_cache() / package)
            except OSError:
                if not (_cache() / package).is_dir():  # somebody else's, just as whole, came first
                    raise


def _relocate(program: Path) -> None:
    """Debian's Alertmanager reads its templates at a fixed path, where those of an unpacked package are not.

    In our copy that path gets relative, at the same length, and a script starts it in the directory that it is relative to.
    """
    if not program.exists():
        return
    copy = program.with_name(f"{program.name}.relocated")
    program.write_bytes(program.read_bytes().replace(b"/usr/share/prometheus/", b"usr//share/prometheus/"))
    program.rename(copy)
    program.write_text(f'#!/bin/sh\ncd "${{0%/*}}/../.." && exec ./usr/bin/{copy.name} "$@"\n', encoding="utf-8")
    program.chmod(0o755)


def _download(apt_get: str, packages: list[str], directory: Path) -> None:
    """By the system's package lists; where there are none, or they are out of date, by fresh ones of our own, thrown away after."""
    try:
        _run([apt_get, "download", *packages], directory)
    except PermanentError:
        state, cache = directory / "state", directory / "cache"
        for needed in (state / "lists" / "partial", cache / "archives" / "partial"):
            needed.mkdir(parents=True)
        own = ["-o", f"Dir::State={state}", "-o", f"Dir::State::Lists={state / 'lists'}", "-o", f"Dir::Cache={cache}"]
        _run([apt_get, "update", "-o", "APT::Update::Error-Mode=any", *own], directory)
        _run([apt_get, "download", *packages, *own], directory)


def _run(argv: list[str], directory: Path) -> None:
    what = " ".join((Path(argv[0]).name, argv[1]))
    try:
        done = subprocess.run(  # noqa: S603 - argv is ours, the programs are the system's own
            argv,
            cwd=directory,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PermanentError(f"{what} did not come to an end in {_TIMEOUT_SECONDS} s: {_ADVICE}") from error
    if done.returncode != 0:
        said = "; ".join(line.strip() for line in done.stderr.strip().splitlines()[-2:])
        raise PermanentError(f"{what} failed ({said or 'no message'}): {_ADVICE}")
