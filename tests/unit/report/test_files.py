import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from rollbackd.report.files import write_report
from tests.unit.report.scenes import HELD, INCIDENT, RECOVERED


def test_a_report_is_written_as_markdown_and_json_for_the_owner_only(tmp_path: Path) -> None:
    path = write_report(tmp_path / "reports", RECOVERED)

    assert path == tmp_path / "reports" / f"{INCIDENT.id}.md"
    assert path.read_text("utf-8").startswith("# Rollback report")
    assert json.loads(path.with_suffix(".json").read_text("utf-8"))["incident"]["outcome"] == "recovered"
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert sorted(each.name for each in path.parent.iterdir()) == [f"{INCIDENT.id}.json", f"{INCIDENT.id}.md"]


def test_it_replaces_the_one_before(tmp_path: Path) -> None:
    write_report(tmp_path, HELD)
    path = write_report(tmp_path, RECOVERED)

    assert "**recovered**" in path.read_text("utf-8")


def test_it_does_not_write_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine", "utf-8")
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / f"{INCIDENT.id}.md").symlink_to(outside)
    (reports / f".{INCIDENT.id}.md.new").symlink_to(outside)

    path = write_report(reports, RECOVERED)

    assert outside.read_text("utf-8") == "mine"
    assert not path.is_symlink()


def test_what_a_crash_left_behind_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f".{INCIDENT.id}.md.new").write_text("half", "utf-8")

    assert "half" not in write_report(tmp_path, RECOVERED).read_text("utf-8")


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "A", "x" * 65, "a\n", ".."])
def test_a_name_that_is_no_incident_id_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no file name"):
        write_report(tmp_path, replace(HELD, incident=replace(INCIDENT, id=name)))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")

    with pytest.raises(OSError, match="file"):
        write_report(tmp_path / "file" / "reports", HELD)
