"""The format of the scenarios: strict, and series that are what a file says."""

import math
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from rollbackd.settings.problems import InvalidConfigError
from tests.e2e.prometheus import Backfill
from tests.e2e.scenarios import series, timeline, world
from tests.e2e.scenarios.form import Shape, Source, load

PLAIN = """\
scenarios:
  - name: plain
    tells: nothing
    services: {api: {traffic: [{rate: 20/s}], releases: [{version: v1, at: -1d}]}}
    alerts: [{expect: {decision: hold, reason: healthy}}]
"""


def problems(directory: Path, *texts: str) -> list[str]:
    files = [directory / f"{k}.yaml" for k in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    with pytest.raises(InvalidConfigError) as failed:
        load(files)
    return [str(problem).removeprefix(f"{directory}/") for problem in failed.value.problems]


def test_an_unknown_key_is_an_error_wherever_it_stands(tmp_path: Path) -> None:
    text = PLAIN.replace("rate:", "rates:").replace("version: v1,", "version: v1, lives: 0,").replace("tells:", "why: x\n    tells:")
    found = problems(tmp_path, text)
    assert [line.split(": ")[1].split(",")[0] for line in found] == ["unknown key 'why'", "unknown key 'rates'", "unknown key 'lives'"]
    assert found[0].startswith("0.yaml:3:5: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-1d", "1d", "'1d' is no time: write 0, or a sign and a duration from the alert, such as -3m, -1h30m or +15s"),
        ("20/s", "20", "'20': write a number and /s or /m or /h"),
        ("20/s", "20/s | 30/s", "'30/s': write a value first, then `| TIME VALUE` for each time at which it changes"),
        ("20/s", "20/s | -1m 3/s | -2m 4/s", "'20/s | -1m 3/s | -2m 4/s': each time is later than the one before it"),
        ("20/s", "20/s | -1m 3/s..4/s", "'20/s | -1m 3/s..4/s': what rises or falls does so between two times"),
        ("20/s", "20/s, gaps: [-1m]", "'-1m': write two times, such as -5m..-3m"),
        ("reason: healthy", "reason: fine", "'fine': write"),
        ("hold", "wait", "'wait': write 'roll_back', 'hold' or 'escalate'"),
    ],
)
def test_what_is_wrong_says_what_to_write(tmp_path: Path, old: str, new: str, message: str) -> None:
    (found,) = problems(tmp_path, PLAIN.replace(old, new))
    assert found.split(": ", 1)[1].startswith(message)


def test_a_name_stands_once_in_all_files(tmp_path: Path) -> None:
    assert problems(tmp_path, PLAIN, PLAIN) == ["1.yaml:2:11: there are two scenarios 'plain'"]


def test_a_number_over_time() -> None:
    line = timeline.parse("10% | -2m 10%..30% | -1m 30% | 0 5%", timeline.SHARE)
    assert [round(line.at(moment), 3) for moment in (-900, -120, -90, -60, -1, 0, 900)] == [0.1, 0.1, 0.2, 0.3, 0.3, 0.05, 0.05]
    assert math.isnan(timeline.parse("1 | -1m NaN", timeline.NUMBER).at(0))


def written(source: Source) -> dict[str, list[tuple[float, float]]]:
    """The samples of each series in seconds from the alert; its labels only where they differ."""
    backfill = Backfill()
    series.add(backfill, source, {"service": "api"}, world.AT)
    told: dict[str, list[tuple[float, float]]] = {}
    for line in backfill.text.splitlines():
        if not line.startswith("#"):
            name, value, at = line.rsplit(" ", 2)
            name = name.replace('instance="a:1"', "").replace('service="api"', "").replace(",", "")
            told.setdefault(name, []).append((float(at) - world.AT.timestamp(), float(value)))
    return told


def source(**told: object) -> Source:
    return Source.model_validate({"begins": "-2m", "ends": "0", **told})


def test_counters_count_whole_requests_and_are_born_with_the_first() -> None:
    told = written(source(rate="4/s", errors="0% | -1m 25%"))
    good, bad = told['http_requests_total{code="200"}'], told['http_requests_total{code="500"}']
    assert len(good) == 8
    assert all(later - sooner == pytest.approx(15, abs=0.01) for (sooner, _), (later, _) in pairwise(good))
    assert bad[0][0] > -60
    assert all(count == int(count) >= 1 for _, count in (*good, *bad))
    (at, last), (_, failed) = good[-1], bad[-1]
    assert last + failed == pytest.approx(4 * (at + 120), abs=2)
    assert failed == pytest.approx(at + 60, abs=1)


def test_a_restart_begins_anew_and_a_gap_leaves_samples_out() -> None:
    samples = written(source(rate="4/s", restarts=["-1m"], gaps=["-50s..-20s"]))['http_requests_total{code="200"}']
    before = [count for at, count in samples if at < -60]
    after = [(at, count) for at, count in samples if at >= -60]
    assert before == sorted(before)
    assert after[0][1] < before[-1]
    assert all(count == pytest.approx(4 * (at + 60), abs=1) for at, count in after)
    assert not any(-50 <= at < -20 for at, _ in samples)


def test_a_p95_is_found_again() -> None:
    told = written(source(rate="100/s", p95="2s"))
    last = {name.split('le="')[1].split('"')[0]: samples[-1][1] for name, samples in told.items() if "_bucket" in name}
    total = last["+Inf"]
    below, within = last["1"], last["2.5"] - last["1"]
    assert 1 + 1.5 * (0.95 * total - below) / within == pytest.approx(2, abs=0.01)
    assert told["http_request_duration_seconds_count{}"][-1][1] == total


def test_another_day_is_around_the_same_hour() -> None:
    told = written(source(up="1", yesterday=Shape.model_validate({"begins": "-1m", "ends": "0", "up": "0"})))
    days = {timedelta(seconds=at) // timedelta(hours=12): value for at, value in told["up{}"]}
    assert days == {-3: 0.0, -1: 1.0}
