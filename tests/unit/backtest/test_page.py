import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from rollbackd.backtest.chart import HEIGHT, WIDTH, Chart, draw
from rollbackd.backtest.page import render
from rollbackd.backtest.past import PastAlert, Truth
from rollbackd.backtest.run import Result
from rollbackd.backtest.score import Scored, score
from rollbackd.decision.record import unrouted
from rollbackd.model.decision import Action, Blame, Check, CheckVerdict, Decision
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from tests.unit.backtest.world import AT, HOUR, MINUTE

STEP = timedelta(seconds=15)
EVIL = '<script>alert("x")</script>\x1b[31m\u202e'
V2 = Release(service="api", version="v2", artifact="image:v2", started_at=AT - 3 * MINUTE, live_at=AT - 3 * MINUTE)
V1 = replace(V2, version="v1", artifact="image:v1", started_at=AT - 300 * MINUTE)


def evidence(values: dict[int, float | None], *, until: datetime = AT) -> IndicatorEvidence:
    """By the number of the step before `until`; the others of the last two hours are 0.001."""
    readings = tuple(
        Reading(until - k * STEP, value, Reason.NO_SERIES if value is None else None)
        for k in range(480, -1, -1)
        for value in [values.get(k, 0.001)]
    )
    return IndicatorEvidence(indicator="error_rate", query="bad / total", step=STEP, readings=readings)


def result(alert_id: str = "a1", *, values: dict[int, float | None] | None = None, **changes: Any) -> Result:
    check = Check(name="target", verdict=CheckVerdict.PASSED, reason=Reason.PASSED, at=AT, value="v1 (image:v1)")
    decision = Decision(
        action=Action.ROLL_BACK,
        reason=Reason.TO_BLAME,
        at=AT,
        blame=Blame.TO_BLAME,
        trigger="HighErrorRate",
        value=0.3,
        limit=0.01,
        onset=AT - 2 * MINUTE,
        suspect=V2,
        target=V1,
        checks=(check,),
    )
    alert = PastAlert(id=alert_id, at=AT, name="HighErrorRate", labels={"service": "api"})
    told = evidence(dict.fromkeys(range(9), 0.3) if values is None else values)
    return Result(alert=alert, service="api", decision=replace(decision, **changes), looks=1, evidence=told)


def drawn(one: Result) -> Chart:
    chart = draw(one)
    assert chart is not None
    return chart


def points(line: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.split())]


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        assert not any(name.startswith("on") or (value or "").startswith(("http", "//")) for name, value in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_line_ends_at_the_decision_and_lies_within_the_drawing() -> None:
    (line,) = drawn(result()).lines
    assert len(points(line)) == 20 * 4 + 1  # twenty minutes
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(line))
    assert points(line)[-1][0] == drawn(result()).right
    assert points(line)[-1][1] < points(line)[0][1]  # higher up


def test_what_was_not_measured_is_a_gap() -> None:
    one = result(values={4: None, 5: None, 0: 0.3, 1: None})
    assert [len(points(line)) for line in drawn(one).lines] == [75, 2, 2]  # a single step is a dot


def test_lines_at_release_onset_alert_and_decision_in_the_order_of_time() -> None:
    later = replace(result(), evidence=evidence({}, until=AT + MINUTE))
    chart = drawn(replace(later, decision=replace(later.decision, at=AT + MINUTE)))
    assert [(mark.kind, mark.text) for mark in chart.marks] == [
        ("release", "v2"),
        ("onset", "onset"),
        ("alert", "alert"),
        ("decision", "roll back"),
    ]
    assert [mark.x for mark in chart.marks] == sorted({mark.x for mark in chart.marks})
    assert len({mark.text_y for mark in chart.marks}) == 4


def test_an_old_release_is_still_in_the_drawing() -> None:
    chart = drawn(result(suspect=replace(V2, started_at=AT - HOUR)))
    assert chart.marks[0].x > chart.left
    assert len(points(chart.lines[0])) == 70 * 4 + 1


def test_what_lies_before_all_readings_is_left_out() -> None:
    assert [mark.kind for mark in drawn(result(suspect=V1)).marks] == ["onset", "alert", "decision"]


def test_the_limit_is_in_the_drawing_also_where_nothing_reached_it() -> None:
    chart = drawn(result(values={}, limit=2.0))
    assert chart.limit_y is not None
    assert chart.top <= chart.limit_y <= chart.bottom


def test_a_line_of_zeros_can_be_drawn() -> None:
    chart = drawn(result(values=dict.fromkeys(range(481), 0.0), limit=None))
    assert {y for _, y in points(chart.lines[0])} == {chart.bottom}


def test_without_a_measurement_there_is_no_chart() -> None:
    assert draw(result(values=dict.fromkeys(range(481)))) is None
    assert draw(replace(result(), evidence=None)) is None
    assert "Nothing was measured" in render([replace(result(), evidence=None)], truths={}, score=None)


def test_the_page_says_what_was_decided_and_what_should_have_been() -> None:
    nobody = replace(result("a2"), service=None, decision=unrouted(Reason.NO_SERVICE, AT, "no service fits"), evidence=None)
    truths = {"a1": Truth(decision=Action.HOLD, scenario="noise")}
    figures = score([Scored(truth=truths["a1"], decision=Action.ROLL_BACK, took=timedelta())])
    page = render([result(), nobody], truths=truths, score=figures)
    texts = [" ".join(text.split()) for text in Elements(page).texts]
    for text in ("roll back", "should be hold", "noise", "error_rate", "onset", "limit 0.01", "v1 (image:v1)", "false rollbacks"):
        assert text in texts
    assert any("no service fits" in text for text in texts)
    assert "2 alerts: 1 roll back, 1 hold, 0 escalate. Each was judged" in " ".join("".join(Elements(page).texts).split())
    assert 'class="badge wrong"' in page
    assert page.count("<svg") == 1


def test_every_drawing_is_well_formed() -> None:
    page = render([result(), result("a2", limit=None, onset=None, suspect=None)], truths={}, score=None)
    drawings = page.split("<svg")[1:]
    assert len(drawings) == 2
    for drawing in drawings:
        ET.fromstring("<svg" + drawing.split("</svg>")[0] + "</svg>")


def test_what_another_config_changes_is_told() -> None:
    held = result(action=Action.HOLD, reason=Reason.INCONCLUSIVE)
    page = render([result(), result("a2")], truths={}, score=None, others=[held, result("a2")])
    assert "Another config would change 1 of them." in page
    assert page.count("with the other config: hold") == 1
    assert "other config" not in render([result()], truths={}, score=None)


def test_text_from_outside_is_text() -> None:
    evil = replace(V2, version=EVIL)
    check = Check(name=EVIL, verdict=CheckVerdict.FAILED, reason=Reason.UNKNOWN, at=AT, value=EVIL, limit=EVIL)
    one = result(EVIL, suspect=evil, target=evil, checks=(check,))
    one = replace(one, alert=replace(one.alert, name=EVIL), service=EVIL)
    page = render([one], truths={EVIL: Truth(decision=Action.HOLD, scenario=EVIL)}, score=None)
    elements = Elements(page)
    assert "script" not in elements.names
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert any('<script>alert("x")</script>' in text for text in elements.texts)


def test_the_page_loads_nothing() -> None:
    assert not {"script", "link", "img", "iframe", "object"} & set(Elements(render([result()], truths={}, score=None)).names)
