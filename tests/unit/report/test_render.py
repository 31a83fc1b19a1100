import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rollbackd import __version__
from rollbackd.errors import MisconfiguredError
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.decision import Check, CheckVerdict
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.reason import Reason
from rollbackd.report import render
from rollbackd.report.facts import Facts
from rollbackd.settings.effective import Contact
from rollbackd.telemetry.redaction import register_secret
from tests.unit.report.scenes import FAILED, HELD, INCIDENT, POLICY, RECOVERED, entries

GOLDEN = Path(__file__).parent / "golden"
SCENES = {"recovered": RECOVERED, "held": HELD, "failed": FAILED}

HOSTILE = [
    "$(touch x)",
    "`` ` `` code",
    "[click](http://evil.example)",
    "![image](http://evil.example/x.png)",
    "<script>alert(1)</script>",
    "<!-- comment",
    "&lt;b&gt; &#60;",
    "http://evil.example and www.evil.example",
    "**bold** _it_ __init__ ~~gone~~",
    "a | b | c",
    "one\n\n# Heading\n\n- list\n\n```\nfence",
    "\x1b[31mred\x1b[0m \u202egnp.exe",
    "[x]: http://evil.example",
    "# not a heading",
    "1. not a list",
    "- not a list",
    "> not a quote",
    "---",
    "===",
    "$x$ \\(y\\)",
    "ends with `",
]


@pytest.mark.parametrize("name", SCENES)
def test_the_report_is_as_before(name: str) -> None:
    """Run with UPDATE_GOLDEN=1 to accept what is different, and read the difference before you commit it."""
    written = render.markdown(SCENES[name]).replace(__version__, "VERSION")
    golden = GOLDEN / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(written, "utf-8")

    assert written == golden.read_text("utf-8")


@pytest.mark.parametrize("name", SCENES)
def test_the_json_is_as_before(name: str) -> None:
    written = render.json(SCENES[name]) + "\n"
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(written, "utf-8")

    assert written == golden.read_text("utf-8")
    assert json.loads(written) == render.to_json(SCENES[name])


def headings(markdown: str) -> list[str]:
    tokens = parsed(markdown)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


def parsed(markdown: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(markdown)


@pytest.mark.parametrize("name", SCENES)
def test_the_headings_of_the_seed_are_there_in_their_order(name: str) -> None:
    of_the_seed = ["Rollback report", "Basic information", "Rollback process", "Verification results", "Follow-up actions"]

    assert [heading for heading in headings(render.markdown(SCENES[name])) if heading in of_the_seed] == of_the_seed


def hostile_facts(text: str) -> Facts:
    """The incident with `text` wherever something from outside may stand."""
    [alert, _] = RECOVERED.alerts
    assert RECOVERED.decision is not None
    check = Check(name=text, verdict=CheckVerdict.FAILED, reason=Reason.COOLDOWN, at=INCIDENT.opened_at, query=text, value=text, limit=text)
    return replace(
        RECOVERED,
        incident=replace(RECOVERED.incident, requested_by=text, request_reason=text, reason_code=text, detail=text, trigger=text),
        decision=replace(RECOVERED.decision, checks=(check,)),
        changes=tuple(replace(each, what=text, by=text) for each in HELD.changes),
        attempts=tuple(replace(each, step_name=text, detail=text, output=text, status=AttemptStatus.FAILED) for each in RECOVERED.attempts),
        alerts=(replace(alert, labels={"alertname": text, text: text}),),
        timeline=entries((0, "alert", text)),
        contacts=(Contact(role=text, name=text, channel=text),),
    )


def shape(tokens: list[Token]) -> list[tuple[str, str]]:
    """The structure of a document: its blocks, and what is markup within its lines."""
    seen = []
    for token in tokens:
        seen.append((token.type, token.tag))
        seen += [(child.type, child.tag) for child in token.children or [] if child.type not in {"text", "code_inline", "text_special"}]
    return seen


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_from_outside_never_changes_the_structure_of_the_report(text: str) -> None:
    harmless = render.markdown(hostile_facts("harmless"))
    hostile = render.markdown(hostile_facts(text))

    assert shape(parsed(hostile)) == shape(parsed(harmless))
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile


def test_a_secret_is_in_no_report_even_if_markdown_would_escape_it() -> None:
    register_secret("ca*na_ry[of]the|report")
    facts = hostile_facts("before ca*na_ry[of]the|report after")

    assert "report after" not in render.markdown(facts).replace("[redacted] after", "")
    assert "of]the" not in render.markdown(facts)
    assert "na_ry" not in render.json(facts)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_says_what_to_do_next(outcome: Outcome) -> None:
    written = render.markdown(replace(RECOVERED, incident=replace(RECOVERED.incident, outcome=outcome)))

    next_steps = written.split("What to do next:\n\n")[1].split("\n\n## Basic")[0]
    assert next_steps.startswith("- ")
    assert "Nothing yet" not in next_steps


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.CLOSED])
def test_an_open_incident_can_be_reported_too(phase: Phase) -> None:
    written = render.markdown(replace(HELD, incident=replace(HELD.incident, phase=phase, outcome=None, closed_at=None)))

    assert f"**{phase.replace('_', ' ')}**" in written
    assert "closed -" in written


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason: Reason) -> None:
    words = render._environment().get_template("en.words.jinja").module.because  # type: ignore[attr-defined]

    assert words[reason].strip()


@pytest.mark.parametrize(
    ("incident", "by"),
    [
        (RECOVERED.incident, "rollbackd by itself (mode auto)"),
        (replace(RECOVERED.incident, requested_by="oncall", escalated_at=INCIDENT.opened_at), "rollbackd, approved by oncall"),
        (replace(RECOVERED.incident, requested_by="oncall"), "rollbackd, by hand of oncall"),
        (HELD.incident, "nobody (mode auto)"),
    ],
    ids=["itself", "approved", "by hand", "nobody"],
)
def test_who_did_it_is_said(incident: Incident, by: str) -> None:
    assert f"- **Executed by**: {by}\n" in render.markdown(replace(RECOVERED, incident=incident))


def test_a_report_of_almost_nothing_is_a_report() -> None:
    bare = Incident(id="i", service="api", trigger=None, phase=Phase.DECIDING, mode=POLICY.mode, snapshot="s", opened_at=INCIDENT.opened_at)

    written = render.markdown(Facts(incident=bare, policy=replace(POLICY, runbook=None), made_at=INCIDENT.opened_at))

    assert "None" not in written
    assert "Functional verification passed: the runbook has no such check" in written


def test_a_long_output_is_cut_to_its_last_lines() -> None:
    output = "".join(f"line {number}\n" for number in range(1000))
    failed = replace(FAILED, attempts=(replace(FAILED.attempts[0], output=output),))

    written = render.markdown(failed)

    assert "line 999\n```" in written
    assert "line 959\n" not in written


def test_a_language_without_a_template_is_refused() -> None:
    with pytest.raises(MisconfiguredError, match=r"report\.language: there is no report in 'fr': use one of en"):
        render.markdown(HELD, "fr")
