"""A message in words, for a person, in their language. Pure; what it is put into decides how it is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rollbackd.model.incident import Severity
from rollbackd.model.message import Message, Topic
from rollbackd.settings.effective import Contact


@dataclass(frozen=True, slots=True)
class Letter:
    """`title` is one line; `body` is a few, without markup."""

    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Language:
    severities: Mapping[Severity, str]
    topics: Mapping[Topic, str]
    outcomes: Mapping[str, str]
    again: str
    trigger: str
    release: str
    because: str
    approve: str
    look: str
    follow: str
    who: str
    between: str


_EN: Final = _Language(
    severities={Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "CRITICAL"},
    topics={
        Topic.PROPOSED: "roll back? a person has to say",
        Topic.ESCALATED: "a person is needed",
        Topic.ROLLING_BACK: "rolling back",
        Topic.CLOSED: "closed",
        Topic.BAD_IS_BACK: "the bad release is back",
        Topic.TEST: "a test message",
    },
    outcomes={},
    again="again",
    trigger="trigger",
    release="from {suspect} to {target}",
    because="because",
    approve="approve: rollbackd approve {incident}",
    look="why: rollbackd explain {incident}",
    follow="follow: rollbackd watch {incident}",
    who="for",
    between=": ",
)
_ZH: Final = _Language(
    severities={Severity.INFO: "通知", Severity.WARNING: "警告", Severity.CRITICAL: "严重"},
    topics={
        Topic.PROPOSED: "是否回滚？需要人工确认",
        Topic.ESCALATED: "需要人工处理",
        Topic.ROLLING_BACK: "正在回滚",
        Topic.CLOSED: "已结束",
        Topic.BAD_IS_BACK: "有问题的版本又在运行",
        Topic.TEST: "测试消息",
    },
    outcomes={
        "recovered": "回滚成功，已恢复",
        "improved": "回滚后好转，未完全恢复",
        "no_effect": "回滚无效",
        "worse": "回滚后恶化",
        "failed": "回滚失败",
        "unverified": "已回滚，无法验证",
        "stood_down": "未处理，告警不成立",
        "held": "未处理，不满足条件",
        "observed": "仅观察，未处理",
        "escalated": "已转人工",
        "rejected": "已拒绝",
        "aborted": "已中止",
        "expired": "无人处理，已过期",
    },
    again="再次提醒",
    trigger="触发",
    release="从 {suspect} 回滚到 {target}",
    because="原因",
    approve="批准：rollbackd approve {incident}",
    look="原因：rollbackd explain {incident}",
    follow="进展：rollbackd watch {incident}",
    who="联系人",
    between="：",
)
_LANGUAGES: Final = {"en": _EN, "zh": _ZH}


def letter(message: Message, language: str, *, contacts: Sequence[Contact] = (), url: str | None = None) -> Letter:
    """Args: `url` is rollbackd's own, as people reach it; `contacts` are whom it concerns."""
    said = _LANGUAGES[language]
    what = said.topics[message.topic]
    if message.topic is Topic.CLOSED and message.outcome is not None:
        what = said.outcomes.get(message.outcome, message.outcome.replace("_", " "))
    if message.reminder:
        what = f"{what} ({said.again})"
    title = f"[{said.severities[message.severity]}] {message.service or 'rollbackd'}{said.between}{what}"
    return Letter(title, "\n".join(_lines(message, said, contacts, url)))


def _lines(message: Message, said: _Language, contacts: Sequence[Contact], url: str | None) -> list[str]:
    lines = []
    if message.trigger is not None:
        lines.append(f"{said.trigger}{said.between}{message.trigger}")
    if message.suspect is not None and message.target is not None:
        lines.append(said.release.format(suspect=message.suspect, target=message.target))
    if because := message.detail or message.reason:
        lines.append(f"{said.because}{said.between}{because}")
    if message.incident is None or message.topic is Topic.BAD_IS_BACK:
        lines.append(message.text)
    if message.incident is not None:
        hint = {Topic.PROPOSED: said.approve, Topic.ROLLING_BACK: said.follow}.get(message.topic, said.look)
        lines.append(hint.format(incident=message.incident))
        if url is not None:
            lines.append(f"{url.rstrip('/')}/incidents/{message.incident}")
    if contacts:
        lines.append(said.who + said.between + ", ".join(f"{one.name} ({one.role})" for one in contacts))
    return lines
