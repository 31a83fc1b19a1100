"""Rows 48 and 49: a corpus of hostile text through every place where text comes in, looked for where it comes out (I11)."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Final

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.faults.hostile import HOSTILE, SENTENCES, SHORT, steers
from tests.faults.hostile_world import ARTIFACT, CREDENTIAL, PLACES
from tests.faults.story import Heard
from tests.flow.world import SERVICE

MARKDOWN: Final = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
HEADINGS: Final = {
    "Rollback report", "Basic information", "Rollback process", "Verification results", "Follow-up actions", "Decision",
    "Changes before the incident", "Attempts", "Watch", "Time spent", "Alerts", "Timeline",
}  # fmt: skip
BLOCKS: Final = {"heading", "paragraph", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES: Final = {
    "html": {"lang"}, "head": set(), "meta": {"charset", "name", "content", "http-equiv"}, "title": set(), "link": {"rel", "href"},
    "body": set(), "header": set(), "main": set(), "a": {"class", "href"}, "span": {"class"}, "h1": set(), "h2": set(), "p": {"class"},
    "dl": set(), "dt": set(), "dd": set(), "div": {"class"}, "code": {"class"}, "table": set(), "thead": set(), "tbody": set(),
    "tr": {"class"}, "th": set(), "td": {"data-label"}, "time": {"datetime"}, "ol": {"class"}, "li": set(), "br": set(), "strong": set(),
    "details": set(), "summary": set(), "pre": set(),
}  # fmt: skip
"""What the console's own templates write: an element or an attribute beside these came from outside."""


def test_row_48_the_corpus_fits_where_it_is_sent() -> None:
    assert all("pwn" in text for text in HOSTILE.values())
    assert all(len(text) <= 1000 for text in SENTENCES)
    assert len(SENTENCES) >= 5


def test_row_48_the_story_came_to_its_ends(hostile_story: Heard) -> None:
    """Else there would be nothing to look at: a rollback that was approved, one that failed by hand, one that could not be judged."""
    third, second, first = hostile_story.incidents
    assert (first["outcome"], second["outcome"], third["outcome"]) == ("recovered", "failed", "aborted")
    assert [one["status"] for one in first["attempts"]] == ["succeeded"] * 3
    assert "pwn" in second["attempts"][1]["output"]
    assert "pwn" in second["request_reason"]
    assert "pwn" in json.dumps(third["checks"])


class TestRow48:
    def test_row_48_argv_is_what_the_runbook_says_to_the_byte(self, hostile_story: Heard) -> None:
        first, second = hostile_story.argv
        assert first == ["v1", f"--image={ARTIFACT}", f"a {ARTIFACT} b"]
        assert second == ["v0", "--image=v0", "a v0 b"]

    def test_row_48_nothing_of_an_alert_is_in_an_environment(self, hostile_story: Heard) -> None:
        first, second = hostile_story.environments
        allowed = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "ROLLBACKD_ATTEMPT"}
        assert set(first) <= allowed | {"IMAGE", "KEY", "LC_CTYPE"}
        assert (first["IMAGE"], second["IMAGE"]) == (ARTIFACT, "v0")
        assert first["KEY"] == CREDENTIAL
        assert not any("pwned" in value for value in second.values())

    def test_row_48_nothing_that_was_meant_as_a_command_ran(self, hostile_story: Heard) -> None:
        assert not [name for name in hostile_story.files if "pwned" in name]

    def test_row_48_file_names_are_generated(self, hostile_story: Heard) -> None:
        reports = [name for name in hostile_story.files if "/reports/" in name]
        assert len(reports) == 6
        assert all(re.fullmatch(r"state/reports/[a-z0-9-]{1,64}\.(md|json)", name) for name in reports), reports

    def test_row_48_a_version_is_one_segment_of_a_url(self, hostile_story: Heard) -> None:
        assert hostile_story.urls == ["/deployed/registry.example%2F..%2Fapp%40pwned.example%3A8443%2Fv1%2Bx?v=v1"]

    def test_row_48_what_could_become_an_argument_is_refused_when_it_is_recorded(self, hostile_story: Heard) -> None:
        allowed = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}")
        assert not any(allowed.fullmatch(text[:256]) for text in SHORT.values())
        assert set(hostile_story.refused.values()) == {400}

    def test_row_48_queries_ask_what_the_config_says(self, hostile_story: Heard) -> None:
        """A value of a label that Prometheus itself named is a literal; nothing else from outside is in any query."""
        literals = {json.dumps(text, ensure_ascii=False) for text in PLACES}
        found = {text for text in literals if any(f"instance={text}" in query for query in hostile_story.queries)}
        assert found == literals
        rest = hostile_story.queries
        for text in literals:
            rest = [query.replace(f"instance={text}", "") for query in rest]
        assert not [query for query in rest if "pwn" in query]
        assert not [query for query in rest if not query.isprintable()]


def _texts(heard: Heard) -> list[tuple[str, str]]:
    return [*heard.texts.items(), *heard.reports.items(), *heard.pages.items()]


class TestRow48Text:
    def test_row_48_nothing_that_comes_out_steers_who_reads_it(self, hostile_story: Heard) -> None:
        """Answers and problems of the API, the console, reports, the log, metrics, events, every command with and without a terminal."""
        assert len(hostile_story.texts) > 200
        assert {name: steers(text) for name, text in _texts(hostile_story) if steers(text)} == {}

    def test_row_48_json_has_no_steering_character_escaped_either(self, hostile_story: Heard) -> None:
        for name, text in hostile_story.texts.items():
            if text.startswith(("{", "[")):
                lines = text.splitlines()  # a report is one document on many of them
                for line in [text] if lines[0] == "{" else lines:
                    assert not [each for each in _strings(json.loads(line)) if steers(each)], name

    def test_row_48_every_refusal_is_a_problem_with_one_sentence(self, hostile_story: Heard) -> None:
        problems = {name: text for name, text in hostile_story.texts.items() if name.startswith(("no ", "version ", "artifact "))}
        assert len(problems) == 10 * len(SHORT)
        for name, text in problems.items():
            problem = json.loads(text)
            assert problem["type"] == "about:blank", name
            assert 400 <= problem["status"] < 500, (name, problem)

    def test_row_48_each_line_of_the_log_is_one_object_of_the_daemon(self, hostile_story: Heard) -> None:
        lines = [json.loads(line) for line in hostile_story.texts["the log"].splitlines()]
        assert len(lines) > 10
        assert all({"at", "level", "logger", "event"} <= line.keys() for line in lines)
        assert not [line for line in lines if line["event"] == "pwned"]
        assert not [line for line in lines if line["level"] == "critical" and line["logger"] != "notice"]
        assert not [line for line in lines if "exception" in line]

    def test_row_48_labels_of_metrics_come_from_the_config(self, hostile_story: Heard) -> None:
        assert "pwn" not in hostile_story.texts["metrics"]

    def test_row_48_the_stream_has_no_event_of_another(self, hostile_story: Heard) -> None:
        stream = hostile_story.texts["events"]
        assert "pwn" in stream
        for line in stream.splitlines():
            assert re.fullmatch(r"|retry: 2000|: still here|id: \d+|event: [a-z_]+|data: \{.*\}", line), line
        assert "event: pwned" not in stream.splitlines()

    def test_row_48_what_sentry_is_sent_is_plain(self, hostile_story: Heard) -> None:
        assert hostile_story.envelopes
        for body in hostile_story.envelopes:
            lines = [json.loads(line) for line in body.splitlines()]
            assert not [text for text in _strings(lines) if steers(text)]

    def test_row_48_lines_of_a_command_are_not_forged(self, hostile_story: Heard) -> None:
        """Elsewhere than on a terminal one line is one row, and a tab ends a field."""
        for name, fields in (("rollbackd list", 6), ("rollbackd audit", 7), (f"rollbackd change list {SERVICE}", 4)):
            rows = [line.split("\t") for line in hostile_story.texts[name].splitlines()]
            assert {len(row) for row in rows} == {fields}, name
        assert len(hostile_story.texts["rollbackd list"].splitlines()) == 3
        assert len(hostile_story.texts[f"rollbackd change list {SERVICE}"].splitlines()) == len(SENTENCES)


class TestRow48Markup:
    def test_row_48_the_report_has_no_element_that_its_template_did_not_make(self, hostile_story: Heard) -> None:
        fences = 0
        for text in hostile_story.reports.values():
            assert "pwn" in text
            blocks, within = _markdown(text)
            fences += sum(token.type == "fence" for token in blocks)
            kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in blocks} - {"inline", "fence", "hr"}
            assert kinds <= BLOCKS
            headings = [after.content for token, after in pairwise(blocks) if token.type == "heading_open"]
            assert set(headings) <= HEADINGS
            assert len(headings) == len(set(headings))
            made = {"text", "text_special", "code_inline", "strong_open", "strong_close", "em_open", "em_close"}
            assert {token.type for token in within} <= made
            stressed = [after.content for token, after in pairwise(within) if token.type in {"strong_open", "em_open"}]
            assert not [text for text in stressed if "pwn" in text]
            assert sum(token.type == "hr" for token in blocks) == 1
        assert fences == 1  # what the failed step wrote

    def test_row_48_tables_of_the_report_have_the_rows_that_were_meant(self, hostile_story: Heard) -> None:
        for incident, text in hostile_story.reports.items():
            facts = json.loads(hostile_story.texts[f"report {incident}"])
            blocks, _ = _markdown(text)
            cells = [token for token in blocks if token.type == "td_open"]
            listed = {"checks": 6, "changes": 4, "attempts": 6, "watch": 6, "phases": 3, "alerts": 5}
            told = [entry for entry in facts["timeline"] if entry["text"] and entry["kind"] != "look"]
            assert len(cells) == sum(len(facts[name]) * width for name, width in listed.items()) + 2 * len(told)

    def test_row_48_a_page_has_no_element_that_its_template_did_not_write(self, hostile_story: Heard) -> None:
        for path, html in hostile_story.pages.items():
            page = _Page(html)
            assert page.elements, path
            for name, attributes in page.elements:
                assert name in ATTRIBUTES, (path, name)
                assert attributes.keys() <= ATTRIBUTES[name], (path, name, attributes)
                assert re.fullmatch(r"(/|/incidents/[a-z0-9-]+|/static/console\.css)?", attributes.get("href", "")), (path, attributes)
                assert re.fullmatch(r"[a-z_ ]*", attributes.get("class", "")), (path, attributes)
            assert "pwn" in page.text, path
        assert any("<script>document" in _Page(html).text for html in hostile_story.pages.values())  # as text, which is what it is

    def test_row_48_templates_are_not_filled_by_what_fills_them(self, hostile_story: Heard) -> None:
        assert any("pwned {{ 7 * 7 }} {% raw %} {0.__class__}" in _Page(html).text for html in hostile_story.pages.values())


class TestRow49:
    def test_row_49_nothing_from_a_payload_was_connected_to(self, hostile_story: Heard) -> None:
        assert hostile_story.connects == 0

    @pytest.mark.parametrize("scheme", ["javascript:", "file:", "http"])
    def test_row_49_no_reference_on_a_page_came_from_outside(self, hostile_story: Heard, scheme: str) -> None:
        for path, html in hostile_story.pages.items():
            for name, attributes in _Page(html).elements:
                assert not [value for value in attributes.values() if value.lower().strip().startswith(scheme)], (path, name, attributes)

    def test_row_49_no_link_in_a_report(self, hostile_story: Heard) -> None:
        linked = MarkdownIt("gfm-like", {"html": True, "linkify": False})
        for text in hostile_story.reports.values():
            within = [child for token in linked.parse(text) for child in token.children or []]
            assert not [child for child in within if child.type in {"link_open", "image", "html_inline"}]


def _strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for pair in value.items() for each in pair for text in _strings(each)]
        case list():
            return [text for each in value for text in _strings(each)]
        case _:
            return []


def _markdown(text: str) -> tuple[list[Token], list[Token]]:
    blocks = MARKDOWN.parse(text)
    return blocks, [child for token in blocks for child in token.children or []]


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")
