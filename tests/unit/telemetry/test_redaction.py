import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.telemetry.redaction import REDACTED, Redactor, one_line, redact, register_secret, strip_controls

SECRET = 'canary/7f3a "quoted" +é'


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.register(SECRET)
    return redactor


@pytest.mark.parametrize(
    "written",
    [SECRET, quote(SECRET, safe=""), json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False)],
    ids=["raw", "url", "json", "utf8 json"],
)
def test_a_secret_is_taken_out_however_it_is_written(redactor: Redactor, written: str) -> None:
    text = redactor.redact(f"before {written} after")

    assert "canary" not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


def test_each_long_line_of_a_key_is_a_secret_of_its_own() -> None:
    redactor = Redactor()
    redactor.register("-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nshort\n-----END KEY-----\n")

    assert redactor.redact("saw MIIEvQIBADANBgkqhkiG9w0 and short") == f"saw {REDACTED} and short"


def test_of_two_secrets_that_begin_alike_the_longer_is_taken_out_whole() -> None:
    redactor = Redactor()
    redactor.register("token-1")
    redactor.register("token-1-and-more")

    assert redactor.redact("token-1-and-more") == REDACTED


@pytest.mark.parametrize("value", ["", "  ", "abc"])
def test_a_value_too_short_to_be_a_secret_leaves_text_alone(value: str) -> None:
    redactor = Redactor()
    redactor.register(value)

    assert redactor.redact("abc  def") == "abc  def"


def test_a_registered_secret_shows_itself_only_when_asked() -> None:
    secret = register_secret("canary-of-this-test")

    assert secret.reveal() == "canary-of-this-test"
    assert f"{secret} {secret!r} {[secret]}" == f"{REDACTED} {REDACTED} [{REDACTED}]"
    assert redact("x canary-of-this-test y") == f"x {REDACTED} y"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x08c\x7fd\x9be", "abcde"),
        ("\u202egnp.exe\u2066", "gnp.exe"),
        ("line\u2028line", "lineline"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("kept\n\tas it is", "kept\n\tas it is"),
    ],
)
def test_what_steers_a_terminal_is_stripped(text: str, left: str) -> None:
    assert strip_controls(text) == left


@given(st.text())
def test_one_line_is_one_line_and_can_be_encoded(text: str) -> None:
    line = one_line(text)

    assert len(line.splitlines()) <= 1
    assert line.encode() == line.encode("utf-8", "strict")
    assert "\x1b" not in line


@given(st.text('ABC/"+é\n ', min_size=4, max_size=30), st.text("xyz"), st.text("xyz"))
def test_no_registered_value_survives(value: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.register(value)
    secret = value.strip()

    left = redactor.redact(before + secret + after)

    assert left == before + (REDACTED if len(secret) >= 4 else secret) + after
