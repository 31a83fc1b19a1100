from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbackd.model.regex import compile_regex


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api|web",
        "eu-[a-z0-9-]+",
        "[]a]",
        "[^]a]",
        r"[\]\[\d.]",
        "(?i)api",
        "(?i:api)-x",
        "(?-s:a.b)",
        "(?P<zone>eu)-.*?",
        "a{2}b{2,}c{2,5}",
        "a+?b*?c??",
        r"\bapi\b\.\d\S\x41",
        "a{b}",
        "${vars.env}-x",
    ],
)
def test_what_both_engines_read_alike_is_taken(text: str) -> None:
    compile_regex(text)


@pytest.mark.parametrize(
    "text",
    [
        "(?=a)",
        "(?!a)",
        "(?<=a)b",
        "(?<!a)b",
        "(?>a)",
        "(?#note)",
        "(?P=name)",
        "(a)(?(1)b|c)",
        r"(a)\1",
        r"\Za",
        r"a\z",
        r"\pL",
        r"\Qa.b\E",
        r"\u0041",
        r"\é",
        r"[\b]",
        r"[\p]",
        "a++",
        "a*+",
        "a?+",
        "a{2}+",
        "a{,3}",
        "a{1001}",
        "a{}",
        "[[:alpha:]]",
        "[a&&b]",
        "[a--b]",
        "x(?i)y",
        "(?x)a b",
        "(?U)a",
        "(?a)x",
        "(",
        ")",
        "[a",
        "*a",
        "a**",
        "[b-a]",
        "\\",
    ],
)
def test_what_alertmanager_would_refuse_or_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not understood|is not a regular expression|write .* without") as error:
        compile_regex(text)
    assert "\n" not in str(error.value)


def test_an_anchor_at_the_end_is_the_end_of_the_text() -> None:
    assert compile_regex("a$(.|\n)*").fullmatch("a\n") is None
    assert compile_regex("(?m)a$(.|\n)*").fullmatch("a\n") is not None


@settings(deadline=None)
@given(st.text(st.sampled_from("ab(|)[]^$.*+?{},1-\\dbz:i=!<&~\n"), max_size=12))
def test_any_text_compiles_or_is_refused_without_a_warning(text: str) -> None:
    with suppress(ValueError):
        compile_regex(text).fullmatch("abab")
