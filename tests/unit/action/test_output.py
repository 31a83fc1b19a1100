"""How much of an output is kept, and what a person sees of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.action.output import KEEP, Cleaner, HeadAndTail

SECRET = "fo1_s3cr3t/tok+en=="


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_head_and_tail_of_any_stream(chunks: list[bytes], keep: int) -> None:
    kept = HeadAndTail(keep)
    for chunk in chunks:
        kept.add(chunk)
        assert len(kept._head) + len(kept._tail) <= 3 * keep + len(chunk)
    whole = b"".join(chunks)
    dropped = max(len(whole) - 2 * keep, 0)
    assert kept.dropped == dropped
    cut = b"\n[%d bytes left out]\n" % dropped if dropped else b""
    assert kept.content() == whole[:keep] + cut + (whole[keep:][-keep:] if dropped else whole[keep:])


def test_secrets_are_replaced() -> None:
    cleaner = Cleaner([SECRET, ""])
    assert cleaner.clean(f"token {SECRET}, again {SECRET}".encode()) == "token [redacted], again [redacted]"
    assert cleaner.clean_text(f"a line with {SECRET}") == "a line with [redacted]"


def test_a_secret_with_control_characters_between_its_letters_is_replaced() -> None:
    noisy = "\0".join(SECRET[:5]) + "\x1b[31m" + SECRET[5:]
    assert Cleaner([SECRET]).clean(noisy.encode()) == "[redacted]"


def test_one_line_of_a_secret_key_is_replaced() -> None:
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\n-----END KEY-----"
    assert Cleaner([key]).clean(b"key: AAAABBBBCCCC\r\nDDDDEEEEFFFF") == "key: [redacted]\n[redacted]"


def test_the_longer_of_two_secrets_is_replaced_as_a_whole() -> None:
    assert Cleaner(["pass", "password1"]).clean(b"password1 pass") == "[redacted] [redacted]"


@given(st.integers(KEEP - 2 * len(SECRET), KEEP + 2), st.integers(2 * KEEP, 2 * KEEP + 100))
def test_a_secret_that_the_cut_goes_through_is_gone(place: int, size: int) -> None:
    """At the end of the head, and at the begin of the tail."""
    secret = SECRET.encode()
    for output in (b"." * place + secret + b"." * size, b"." * size + secret + b"." * (place - len(secret))):
        kept = HeadAndTail()
        kept.add(output)
        cleaned = Cleaner([SECRET]).clean(kept.content())
        assert "bytes left out" in cleaned
        rest = cleaned.replace(".", "").replace("[redacted]", "").replace("bytes left out", "")
        assert not any(letter in rest for letter in "fos/tkn=+")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        (b"\x1b(Ba\x1bMb\x1b", "ab"),
        (b"10%\r20%\r\ndone\ttab\n", "10%\n20%\ndone\ttab\n"),
        (b"a\0b\x07c\x7fd", "abcd"),
        ("a\u202eb\u2066c\u200bd\u2028e\x9bf".encode(), "abcd\nef"),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
        ("回滚 déjà".encode(), "回滚 déjà"),
    ],
)
def test_control_characters_are_gone_and_text_stays(raw: bytes, clean: str) -> None:
    assert Cleaner().clean(raw) == clean
