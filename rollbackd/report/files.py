"""Puts reports into a directory, as Markdown and JSON: whole or not at all, readable by the owner only, never through a link."""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Final

from rollbackd.report import render
from rollbackd.report.facts import Facts

MOST_REPORTS: Final = 10_000
"""More are not kept as files, however young: each can be made again from the store."""

_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
_REPORT: Final = re.compile(rf"{_NAME.pattern}\.(json|md)")


def write_report(directory: Path, facts: Facts, language: str = "en") -> Path:
    """Write or replace the report of this incident; the path of its Markdown.

    Raises:
        OSError: the disk is full, the directory cannot be written.
        ValueError: the incident's id could not be a file name.
    """
    name = facts.incident.id
    if not _NAME.fullmatch(name):
        raise ValueError(f"incident id {name!r} is no file name")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for suffix, text in ((".json", render.json(facts)), (".md", render.markdown(facts, language))):
        _replace(directory, name + suffix, text)
    return directory / f"{name}.md"


def purge_reports(directory: Path, before: datetime) -> int:
    """Delete the files of reports that were written before then, and the oldest where there are too many; how many went (I14).

    Raises:
        OSError: the directory cannot be read or written.
    """
    if not directory.exists():
        return 0
    names = sorted((entry.name for entry in os.scandir(directory) if _REPORT.fullmatch(entry.name)), reverse=True)  # newest first
    kept = names[: 2 * MOST_REPORTS]
    old = [*names[len(kept) :], *(name for name in kept if (directory / name).lstat().st_mtime < before.timestamp())]
    for name in old:
        (directory / name).unlink(missing_ok=True)
    return len(old)


def _replace(directory: Path, name: str, text: str) -> None:
    """Under another name first, then renamed: whoever reads meanwhile sees the old report or the new one."""
    where = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    draft = f".{name}.new"
    try:
        _remove(draft, where)
        opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=where)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(draft, name, src_dir_fd=where, dst_dir_fd=where)
        except OSError:
            _remove(draft, where)
            raise
    finally:
        os.close(where)


def _remove(name: str, where: int) -> None:
    try:
        os.unlink(name, dir_fd=where)
    except FileNotFoundError:
        return
