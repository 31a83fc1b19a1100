import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markupsafe import Markup

from rollbackd.report.markup import NOTHING, cell, code, fence, prose
from rollbackd.telemetry.redaction import harmless

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
SIGNS = st.text("ab1_*`[]()<>!&;#|~\\-+=.:/$ \n\tw", max_size=30)
SOMETHING = (SIGNS | st.text(max_size=30)).filter(harmless)


def content(markdown: str) -> str:
    """What a reader sees of one paragraph; anything but text in it is a failure."""
    blocks = MARKDOWN.parse(markdown)
    assert [token.type for token in blocks] == ["paragraph_open", "inline", "paragraph_close"], markdown
    children = blocks[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}, (markdown, children)
    return "".join(child.content for child in children)


@given(SOMETHING)
def test_prose_reads_as_the_text_it_was_and_is_no_markup(text: str) -> None:
    assert content(prose(text)) == harmless(text)


@given(SOMETHING)
def test_prose_is_no_markup_in_the_middle_of_a_line_either(text: str) -> None:
    assert content(f"a {prose(text)} b") == f"a {harmless(text)} b"


@pytest.mark.parametrize("text", ["error_rate 0.012 (< 0.005)", "2026-01-31 12:00", "0.1235", "it's 5 > 3; a-b, c+d = e #4 & co."])
def test_what_cannot_be_markup_stays_readable(text: str) -> None:
    assert prose(text) == text


@given(SOMETHING)
def test_a_code_span_holds_the_text_as_it_is(text: str) -> None:
    [_, inline, _] = MARKDOWN.parse(f"a {code(text)} b")
    kinds = [(child.type, child.content) for child in inline.children or []]

    assert kinds == [("text", "a "), ("code_inline", harmless(text)), ("text", " b")]


@given(SIGNS)
def test_a_code_span_in_a_table_stays_in_its_cell(text: str) -> None:
    tokens = MARKDOWN.parse(f"| x | y |\n|---|---|\n| {cell(code(text))} | end |\n")
    cells = [token.content for token in tokens if token.type == "inline"]

    assert len(cells) == 4
    assert cells[3] == "end"


@given(SIGNS)
def test_a_fence_cannot_be_closed_from_within(text: str) -> None:
    tokens = MARKDOWN.parse(fence(text) + "\n\nafter\n")

    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.strip("\n") == harmless(text, lines=True).strip("\n")


def test_an_address_is_no_link_where_renderers_link_addresses() -> None:
    assert prose("see http://evil.example or www.evil.example") == r"see http\://evil.example or www\.evil.example"


def test_nothing_is_shown_as_a_dash() -> None:
    assert (prose(""), prose(" \n"), code("")) == (NOTHING, NOTHING, NOTHING)
    assert isinstance(NOTHING, Markup)
