"""Finding the servers: PATH first, then Debian's packages through the real commands' interface, played by scripts."""

import subprocess
from pathlib import Path

import pytest

from rollbackd.demo.packages import find_programs
from rollbackd.errors import PermanentError

APT_GET = r"""#!/bin/sh
printf '%s\n' "$*" >>"$APT_LOG"
case "$1 $*" in
  update*) exit "${APT_UPDATE:-0}" ;;
  download*Dir::State::Lists*) ;;
  download*) [ -z "${APT_STALE:-}" ] || { echo 'E: Unable to locate package prometheus' >&2; exit 100; } ;;
esac
for word in "$@"; do case $word in prometheus*) touch "${word}_1_amd64.deb" ;; esac; done
"""
DPKG_DEB = r"""#!/bin/sh
[ -z "${DPKG_FAILS:-}" ] || { mkdir -p "$3/usr/bin"; echo 'dpkg-deb: error: no space left' >&2; exit 2; }
mkdir -p "$3/usr/bin"
case $2 in *alertmanager*) names='prometheus-alertmanager amtool' ;; *) names='prometheus promtool' ;; esac
for name in $names; do
  printf '#!/bin/sh\necho "$PWD" "$@" /usr/share/prometheus/%s\n' "$name" >"$3/usr/bin/$name"
  chmod +x "$3/usr/bin/$name"
done
"""


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of our own: only a shell and coreutils, and what a test puts in."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("sh", "touch", "mkdir", "chmod"):
        (directory / name).symlink_to(Path("/bin") / name)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("APT_LOG", str(tmp_path / "apt.log"))
    return directory


@pytest.fixture
def debian(path: Path) -> Path:
    executable(path / "apt-get", APT_GET)
    executable(path / "dpkg-deb", DPKG_DEB)
    return path


def cache(tmp_path: Path) -> list[str]:
    return sorted(entry.name for entry in (tmp_path / "cache" / "rollbackd" / "debian-packages").iterdir())


def test_what_is_in_path_is_taken_and_nothing_is_said(path: Path) -> None:
    prometheus, alertmanager = executable(path / "prometheus"), executable(path / "alertmanager")
    said: list[str] = []
    assert find_programs(["prometheus", "alertmanager"], say=said.append) == {"prometheus": prometheus, "alertmanager": alertmanager}
    assert said == []


def test_debians_name_for_alertmanager_goes_before_upstreams(path: Path) -> None:
    executable(path / "alertmanager")
    debians = executable(path / "prometheus-alertmanager")
    assert find_programs(["alertmanager"], say=print) == {"alertmanager": debians}


def test_only_what_is_missing_is_fetched_and_only_once(debian: Path, tmp_path: Path) -> None:
    mine = executable(debian / "prometheus")
    said: list[str] = []
    for _ in range(2):
        found = find_programs(["prometheus", "alertmanager", "amtool"], say=said.append)
        assert found["prometheus"] == mine
        assert found["alertmanager"].name == "prometheus-alertmanager"
        assert found["amtool"].is_relative_to(tmp_path / "cache")
    assert len(said) == 1
    assert cache(tmp_path) == ["prometheus-alertmanager"]
    assert (tmp_path / "apt.log").read_text() == "download prometheus-alertmanager\n"


def test_the_unpacked_alertmanager_looks_for_its_templates_in_the_unpacked_package(debian: Path, tmp_path: Path) -> None:
    program = find_programs(["alertmanager"], say=print)["alertmanager"]
    said = subprocess.run([program, "--config.file=/etc/a b"], capture_output=True, text=True, timeout=10, check=True).stdout
    package = tmp_path / "cache" / "rollbackd" / "debian-packages" / "prometheus-alertmanager"
    assert said == f"{package} --config.file=/etc/a b usr//share/prometheus/prometheus-alertmanager\n"


def test_lists_of_our_own_when_the_systems_do_not_do(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APT_STALE", "1")
    assert find_programs(["promtool"], say=print)["promtool"].is_relative_to(tmp_path / "cache")
    first, update, again = (tmp_path / "apt.log").read_text().splitlines()
    assert first == "download prometheus"
    assert update.startswith("update ")
    assert "Dir::State::Lists=" in update
    assert again.startswith("download prometheus -o Dir::State=")


def test_a_failure_leaves_no_half_of_a_package(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPKG_FAILS", "1")
    with pytest.raises(PermanentError, match=r"dpkg-deb -x failed \(dpkg-deb: error: no space left\): install prometheus and"):
        find_programs(["prometheus"], say=print)
    assert cache(tmp_path) == []


def test_without_packages_and_without_network_it_says_what_to_do(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APT_STALE", "1")
    monkeypatch.setenv("APT_UPDATE", "100")
    with pytest.raises(PermanentError, match=r"apt-get update failed .*: install prometheus and prometheus-alertmanager"):
        find_programs(["prometheus"], say=print)


def test_elsewhere_than_on_debian_it_says_what_to_do(path: Path) -> None:
    with pytest.raises(PermanentError, match=r"no apt-get.*put their programs into PATH"):
        find_programs(["prometheus"], say=print)


def test_a_relative_cache_home_is_ignored_as_the_standard_asks(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_programs(["prometheus"], say=print)["prometheus"].is_relative_to(tmp_path / ".cache" / "rollbackd")
