"""Disks that fail: a small one of its own for the daemon's state, a limit on its files, and a library between it and the kernel.

Each is another path through SQLite: a full disk is SQLITE_FULL, a file over its limit is an I/O error, and a disk that does not keep
what it was told to is an error of fsync, after which nothing may be tried again.
"""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.process_world import ProcessWorld
from tests.needs import not_here

MIB: Final = 2**20

_SHIM: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A file beside the store says what fails, and how: "fsync 5" or "pwrite 28 COUNT". Each failure, and each fsync after it, is counted. */
static int asked(const char *call, int fd) {
    char link[64], path[4096], word[16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *only = getenv("FAULT_FILE"), *name = strrchr(path, '/');
    if (!name || !strstr(name, ".db")) return 0;
    FILE *order = fopen(only, "r");
    if (!order) return 0;
    int number = 0;
    int found = fscanf(order, "%15s %d", word, &number);
    fclose(order);
    if (found != 2) return 0;
    int hit = !strcmp(word, call);
    if (hit || !strcmp(call, "fsync")) {
        char line[4200];
        char log[4200];
        snprintf(log, sizeof log, "%s.log", only);
        int out = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        int size = snprintf(line, sizeof line, "%s %s\n", call, name + 1);
        if (out >= 0) { if (write(out, line, size) < 0) {} close(out); }
    }
    return hit ? number : 0;
}

#define FAIL(call, fd, failed) do { int number = asked(call, fd); if (number) { errno = number; return failed; } } while (0)

int fsync(int fd) { static int (*real)(int); if (!real) real = dlsym(RTLD_NEXT, "fsync"); FAIL("fsync", fd, -1); return real(fd); }
int fdatasync(int fd) { static int (*real)(int); if (!real) real = dlsym(RTLD_NEXT, "fdatasync"); FAIL("fsync", fd, -1); return real(fd); }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    FAIL("pwrite", fd, -1);
    return real(fd, bytes, size, at);
}
int statvfs64(const char *path, struct statvfs64 *found) {
    static int (*real)(const char *, struct statvfs64 *);
    if (!real) real = dlsym(RTLD_NEXT, "statvfs64");
    int answer = real(path, found), number = 0;
    FILE *order = fopen(getenv("FAULT_FILE"), "r");
    if (order) { if (fscanf(order, "%*s %d", &number) == 1 && number == EROFS) found->f_flag |= ST_RDONLY; fclose(order); }
    return answer;
}
int statvfs(const char *path, struct statvfs *found) { return statvfs64(path, (struct statvfs64 *)found); }
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return pwrite64(fd, bytes, size, at); }
"""


class Shim:
    """What stands between SQLite and the kernel, once the environment is given to a process."""

    def __init__(self, directory: Path) -> None:
        self._order = directory / "fault"
        self._library = directory / "fault.so"
        source = directory / "fault.c"
        source.write_text(_SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, source, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(self._library), "FAULT_FILE": str(self._order)}

    @property
    def called(self) -> list[str]:
        """What failed, and every fsync since something was to fail: the call and the file."""
        log = Path(f"{self._order}.log")
        return log.read_text().splitlines() if log.exists() else []

    def fail(self, call: str, number: int) -> None:
        draft = self._order.with_suffix(".new")
        draft.write_text(f"{call} {number}")
        draft.replace(self._order)

    def stop(self) -> None:
        self._order.unlink()


def shim_or_skip(directory: Path) -> Shim:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: what stands between SQLite and the kernel cannot be built")
    return Shim(directory)


class SmallDisk(ProcessWorld):
    """A daemon whose state directory is a disk of its own, of `size` bytes, that nobody else sees."""

    def __init__(self, directory: Path, *, size: int, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self._size = size
        self.options = ""
        self._disk = directory / "state"

    async def launch(self) -> None:
        self._disk.mkdir(exist_ok=True)
        self.under = (
            "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
            f'mount -t tmpfs -o {self.options}size={self._size},mode=700 tmpfs {self._disk} && exec "$@"', "sh",
        )  # fmt: skip
        await super().launch()

    @property
    def disk(self) -> Path:
        """As the daemon sees it."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{self._disk}")

    def fill(self, *, but: int = 0) -> None:
        """Not a byte is left, or that many."""
        with (self.disk / "filler").open("wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"x" * size)
            file.truncate(max(0, file.tell() - but))

    def empty(self) -> None:
        (self.disk / "filler").unlink()

    @contextmanager
    def full(self) -> Iterator[None]:
        self.fill()
        try:
            yield
        finally:
            self.empty()


def small_disk_or_skip(directory: Path, *, size: int, **settings: Any) -> SmallDisk:
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    if tried.returncode:
        not_here(f"no disk of one's own without a user namespace: {tried.stderr.decode().strip()}")
    return SmallDisk(directory, size=size, **settings)


@contextmanager
def files_limited(pid: int, size: int) -> Iterator[None]:
    """No file of the process may grow beyond `size`."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
