"""What a person reads, in either language."""

import pytest

from rollbackd.model.incident import Outcome, Severity
from rollbackd.model.message import Message, Topic
from rollbackd.model.reason import Reason
from rollbackd.notify.words import letter
from rollbackd.settings.effective import Contact

MESSAGE = Message(
    id="m1",
    topic=Topic.CLOSED,
    severity=Severity.CRITICAL,
    text="api: failed",
    incident="20260131-120000-7f3a",
    service="api",
    trigger="HighErrorRate",
    reason=Reason.STEP_FAILED,
    outcome=Outcome.FAILED,
    suspect="v2",
    target="v1",
)


def test_in_english() -> None:
    said = letter(MESSAGE, "en", contacts=[Contact(role="technical", name="Li Wei")], url="https://rollback.example/")
    assert said.title == "[CRITICAL] api: failed"
    assert said.body.splitlines() == [
        "trigger: HighErrorRate",
        "from v2 to v1",
        "because: step_failed",
        "why: rollbackd explain 20260131-120000-7f3a",
        "https://rollback.example/incidents/20260131-120000-7f3a",
        "for: Li Wei (technical)",
    ]


def test_in_chinese() -> None:
    said = letter(MESSAGE, "zh", contacts=[Contact(role="技术", name="李伟")])
    assert said.title == "[严重] api：回滚失败"
    assert said.body.splitlines() == [
        "触发：HighErrorRate",
        "从 v2 回滚到 v1",
        "原因：step_failed",
        "原因：rollbackd explain 20260131-120000-7f3a",
        "联系人：李伟 (技术)",
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_words(language: str, outcome: Outcome) -> None:
    title = letter(Message(id="m", topic=Topic.CLOSED, severity=Severity.INFO, text="", outcome=outcome), language).title
    assert "_" not in title
    assert (outcome.replace("_", " ") in title) is (language == "en")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_to_do_is_said_where_something_is_to_be_done(language: str) -> None:
    def last(topic: Topic) -> str:
        return letter(Message(id="m", topic=topic, severity=Severity.INFO, text="", incident="i1"), language).body.splitlines()[-1]

    assert last(Topic.PROPOSED).endswith("rollbackd approve i1")
    assert last(Topic.ROLLING_BACK).endswith("rollbackd watch i1")
    assert last(Topic.ESCALATED).endswith("rollbackd explain i1")


def test_a_reminder_says_that_it_is_one() -> None:
    message = Message(id="m", topic=Topic.ESCALATED, severity=Severity.WARNING, text="", service="api", reminder=True)
    assert letter(message, "en").title == "[warning] api: a person is needed (again)"


def test_what_is_back_says_what_was_seen() -> None:
    text = "api: v2, rolled back in i1, is back (running: v2): stop what releases it"
    message = Message(id="m", topic=Topic.BAD_IS_BACK, severity=Severity.CRITICAL, text=text, service="api", incident="i1")
    assert text in letter(message, "zh").body
