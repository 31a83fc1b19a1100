"""Whose token it is, by comparing with all of them; replaced without a restart, and never worse for it (I12)."""

import hmac
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rollbackd.errors import MisconfiguredError
from rollbackd.intake import auth
from rollbackd.intake.auth import Tokens
from rollbackd.settings.effective import Person, Role


class SetClock:
    """A test moves it on, so that the files are looked at again."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        raise AssertionError("a token does not ask for the time of day")

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nothing here sleeps")

    def move_on(self) -> None:
        self.seconds += auth.LOOK_EVERY_SECONDS


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def people(tmp_path: Path) -> tuple[Person, ...]:
    made = []
    for name, role in (("oncall", Role.OPERATOR), ("ci", Role.CI)):
        file = tmp_path / f"{name}.token"
        file.write_text(f"{name}-token\n")
        made.append(Person(name=name, role=role, token_file=file))
    return tuple(made)


def test_a_token_is_one_persons(people: tuple[Person, ...], clock: SetClock) -> None:
    tokens = Tokens(people, clock)
    assert tokens
    assert tokens.person("oncall-token") == people[0]
    assert tokens.person("ci-token") == people[1]


@pytest.mark.parametrize("token", ["", "oncall", "oncall-token ", "ONCALL-TOKEN", "oncall-token\n", "ünïcödé", "\udcff", "x" * 10_000])
def test_any_other_is_nobodys(people: tuple[Person, ...], clock: SetClock, token: str) -> None:
    assert Tokens(people, clock).person(token) is None


def test_without_people_there_is_nobody(tmp_path: Path) -> None:
    assert not Tokens([])
    assert Tokens([]).person("") is None


def test_a_file_that_cannot_be_used_stops_the_start(people: tuple[Person, ...], clock: SetClock) -> None:
    people[1].token_file.unlink()
    with pytest.raises(MisconfiguredError, match="cannot be read"):
        Tokens(people, clock)


def test_two_tokens_are_valid_while_one_replaces_the_other(people: tuple[Person, ...], clock: SetClock) -> None:
    tokens = Tokens(people, clock)
    file = people[0].token_file
    file.write_text("oncall-token\nnew-token\n")
    clock.move_on()
    assert tokens.person("oncall-token") == tokens.person("new-token") == people[0]
    file.write_text("new-token\n")
    clock.move_on()
    assert tokens.person("oncall-token") is None
    assert tokens.person("new-token") == people[0]


def test_a_file_is_not_looked_at_for_each_token(people: tuple[Person, ...], clock: SetClock) -> None:
    tokens = Tokens(people, clock)
    assert tokens.person("oncall-token") == people[0]
    people[0].token_file.write_text("new-token\n")
    clock.seconds += auth.LOOK_EVERY_SECONDS / 2
    assert tokens.person("new-token") is None
    clock.seconds += auth.LOOK_EVERY_SECONDS / 2
    assert tokens.person("new-token") == people[0]


def test_a_file_that_is_replaced_by_another_of_the_same_time_and_size(people: tuple[Person, ...], clock: SetClock) -> None:
    tokens = Tokens(people, clock)
    file = people[0].token_file
    before = file.stat()
    replacement = file.with_name("replacement")
    replacement.write_text("oncall-Token\n")
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(file)
    clock.move_on()
    assert tokens.person("oncall-token") is None
    assert tokens.person("oncall-Token") == people[0]


@pytest.mark.parametrize("broken", [None, "", "a b\n", "one\ntwo\nthree\n"])
def test_a_broken_file_leaves_the_tokens_that_were_valid(people: tuple[Person, ...], clock: SetClock, broken: str | None) -> None:
    tokens = Tokens(people, clock)
    file = people[0].token_file
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    clock.move_on()
    assert tokens.person("oncall-token") == people[0]
    file.write_text("repaired\n")
    clock.move_on()
    assert tokens.person("oncall-token") is None
    assert tokens.person("repaired") == people[0]


def test_every_token_is_compared_and_in_constant_time(people: tuple[Person, ...], clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(sent: bytes, known: bytes) -> bool:
        compared.append(known)
        return hmac.compare_digest(sent, known)

    people[1].token_file.write_text("ci-token\nci-next\n")
    tokens = Tokens(people, clock)
    monkeypatch.setattr(auth, "compare_digest", compare)
    assert tokens.person("oncall-token") == people[0]
    assert compared == [b"oncall-token", b"ci-token", b"ci-next"]
