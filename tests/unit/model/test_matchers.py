from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbackd.model.matchers import Matcher, MatchOperator, parse_matchers

EQUAL, NOT_EQUAL, REGEX, NOT_REGEX = MatchOperator


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('service="api"', [("service", EQUAL, "api")]),
        ("service=api", [("service", EQUAL, "api")]),
        (" service = api ", [("service", EQUAL, "api")]),
        ('env!="dev"', [("env", NOT_EQUAL, "dev")]),
        ('zone=~"eu-.*"', [("zone", REGEX, "eu-.*")]),
        ('team!~"a|b"', [("team", NOT_REGEX, "a|b")]),
        ("a=", [("a", EQUAL, "")]),
        ('a=""', [("a", EQUAL, "")]),
        ("a==b", [("a", EQUAL, "=b")]),
        ("a:b=c", [("a:b", EQUAL, "c")]),
        ("a=x y z ", [("a", EQUAL, "x y z")]),
        ('{a="b"}', [("a", EQUAL, "b")]),
        ('{a="b", c!=d,}', [("a", EQUAL, "b"), ("c", NOT_EQUAL, "d")]),
        ("a=b,c=d , e=f", [("a", EQUAL, "b"), ("c", EQUAL, "d"), ("e", EQUAL, "f")]),
        ('a="b,c=d"', [("a", EQUAL, "b,c=d")]),
        (r'a="say \"hi, you\"",b=c', [("a", EQUAL, 'say "hi, you"'), ("b", EQUAL, "c")]),
        (r'a="two\nlines"', [("a", EQUAL, "two\nlines")]),
        (r'a="back\\slash"', [("a", EQUAL, "back\\slash")]),
        (r"a=\d", [("a", EQUAL, r"\d")]),
        ("a=trailing\\", [("a", EQUAL, "trailing\\")]),
        (r'a=~"\\d+"', [("a", REGEX, r"\d+")]),
        (r'a=~"\d+"', [("a", REGEX, r"\d+")]),
        ('a="line\nfeed"', [("a", EQUAL, "line\nfeed")]),
        ("{}", []),
        ("", []),
        ("  ", []),
    ],
)
def test_the_forms_of_alertmanager(text: str, expected: list[tuple[str, MatchOperator, str]]) -> None:
    assert parse_matchers(text) == tuple(Matcher(*parts) for parts in expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("service", "'service'"),
        ("=api", "'=api'"),
        ("1a=b", "'1a=b'"),
        ("a-b=c", "'a-b=c'"),
        ("a<b", "'a<b'"),
        ("a=b,,c=d", "''"),
        ('a="b', "'a=\"b'"),
        ('a=b"', "'a=b\"'"),
        ('a=b"c"', "'a=b\"c\"'"),
        ('a="b"c', "'a=\"b\"c'"),
        (r'a="b\"', "'a=\"b"),
        ("a=b,service", "'service'"),
    ],
)
def test_what_is_not_a_matcher_is_named(text: str, part: str) -> None:
    with pytest.raises(ValueError, match="is not a matcher") as error:
        parse_matchers(text)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a=b", {"a": "b"}, True),
        ("a=b", {"a": "bb"}, False),
        ("a=b", {}, False),
        ("a=", {}, True),
        ("a!=b", {}, True),
        ("a!=", {}, False),
        ("a=~b.*", {"a": "bcd"}, True),
        ("a=~b", {"a": "bcd"}, False),
        ("a=~c", {"a": "bcd"}, False),
        ("a=~b|c", {"a": "c"}, True),
        ("a=~.*", {}, True),
        ("a=~.+", {}, False),
        ("a!~.+", {}, True),
        ("a!~b|c", {"a": "b"}, False),
        ("a=~(?i)API", {"a": "api"}, True),
        ("a=~b.c", {"a": "b\nc"}, False),
        ("a=~(?s)b.c", {"a": "b\nc"}, True),
        ("a=~b$", {"a": "b"}, True),
        ("a=~b$.*", {"a": "b\n"}, False),
        (r"a=~\d+", {"a": "٣"}, False),
        (r"a=~\d+", {"a": "3"}, True),
    ],
)
def test_a_whole_value_matches_and_an_absent_label_is_the_empty_value(text: str, labels: dict[str, str], *, expected: bool) -> None:
    (matcher,) = parse_matchers(text)
    assert matcher.matches(labels) is expected


@settings(deadline=None)
@given(st.sampled_from([EQUAL, NOT_EQUAL]), st.text(st.characters(exclude_categories=["Cs"])))
def test_its_text_reads_back_to_the_same_matcher(operator: MatchOperator, value: str) -> None:
    matcher = Matcher("label", operator, value)
    assert parse_matchers(str(matcher)) == (matcher,)
    assert parse_matchers(f"{{{matcher}, other=x}}") == (matcher, Matcher("other", EQUAL, "x"))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_is_matchers_or_an_error_in_words(text: str) -> None:
    with suppress(ValueError):
        assert all(isinstance(matcher, Matcher) for matcher in parse_matchers(text))


def test_a_matcher_cannot_be_made_with_an_expression_that_could_never_match() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        Matcher("a", REGEX, "(")
    assert Matcher("a", EQUAL, "(").matches({"a": "("})
