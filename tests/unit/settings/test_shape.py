"""Each error of a single key: where it is reported, and in which words. The tested text begins in line 10."""

from pathlib import Path

import pytest

from tests.unit.settings.builders import BASE, errors_of


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("services: {a: {mod: observe}}", ["10:16: unknown key 'mod': did you mean 'mode'?"]),
        ("services: {a: {}}\nserver: {port: 1}", ["11:10: unknown key 'port': there is external_url, listen, tls"]),
        ("services: {a: {mode: auot}}", ["10:22: 'auot': write 'observe', 'propose' or 'auto'"]),
        ("services: {a: {cooldown: 5}}", ["10:26: '5' is not a duration: write a whole number and a unit, such as"]),
        ("services: {a: {cooldown: [1h]}}", ["10:16: write a text here"]),
        ("services: {a: {}}\nsentry: {dsn_file: ''}", ["11:20: name a file"]),
        ("services: {a: {give_up_after: 0s}}", ["10:31: must be longer than 0s"]),
        ("services: {a: {cooldown: 0s}}", []),
        ("services: {a: {blame: maybe}}", ["10:23: 'maybe': write on or off"]),
        ("services: {a: {match: 'service'}}", ["10:23: 'service' is not a matcher: write label=\"value\""]),
        ("services: {a: {match: ['a=b', 'c=~\"(\"']}}", ["10:31: '(' is not a regular expression: missing )"]),
        ("services: {a: {match: []}}", ["10:16: put at least one in this list"]),
        ("services: {a: {version_label: a-b}}", ["10:31: 'a-b': a label's name is letters, digits and _"]),
        ("services: {a: {budget: {service_per_day: -1}}}", ["10:42: input should be greater than or equal to 0"]),
        ("services: {a: {budget: {service_per_day: 1.5}}}", ["10:42: write a whole number"]),
        ("services: {a: {budget: {service_per_day: true}}}", ["10:42: write a whole number"]),
        ("services: {a: {budget: 3}}", ["10:24: write a map here, {…}"]),
        ("services: {a: {depends_on: b}}", ["10:28: write a list here, […]"]),
        ("services: {-a: {}}", ["10:12: '-a': a name begins with a letter or digit; then letters, digits and . _ -"]),
        ("services: {a: {vars: {v: 1.10}}}", ['10:26: 1.10 is not a text: put it in quotes, "1.10"']),
        ("services: {a: {vars: {v: -rf}}}", ["10:26: '-rf': it becomes part of a command: no '-' at its start"]),
        ("services: {a: {releases: {source: git}}}", ["10:16: write source: api or source: command"]),
        ("services: {a: {releases: {run: [x]}}}", ["10:16: write source: api or source: command"]),
        (
            "services: {a: {releases: {source: command, run: [x], items: '[', version: V, started_at: S}}}",
            ["10:61: '[' is not a JMESPath expression: Invalid jmespath expression: Incomplete expression: \"[\""],
        ),
        (
            "services: {a: {releases: {source: command, run: [x, 1.0], items: '[]', version: V, started_at: S}}}",
            ['10:53: 1.0 is not a text: put it in quotes, "1.0"'],
        ),
        ("services: {a: {credentials: {1X: {file: f}}}}", ["10:30: '1X': a variable's name is letters, digits and _"]),
        ("services: {a: {freeze: [{cron: '0 18 * *', duration: 1h}]}}", ["10:32: '0 18 * *': write five fields, '0 18 * * fri'"]),
        (
            "services:\n  a:\n    freeze:\n      - {cron: '0 0 31 2 *', duration: 1h}",
            ["13:16: '0 0 31 2 *' never comes: none of its months has such a day"],
        ),
        (
            "services: {a: {}}\ndefaults: {freeze: [{cron: '0 18 * * 8', duration: 1h}]}",
            ["11:28: '0 18 * * 8': '8': the day of the week is 0 to 6 or a name such as sun"],
        ),
        ("services: {a: {freeze: [{cron: '0 18 * * fri', duration: 1h, tz: Mars}]}}", ["10:66: 'Mars' is not a time zone: write one"]),
        ("services: {a: {triggers: {SlowResponse: {breach: 800}}}}", ["10:50: '800' is not a condition: write '> 0.01', '<= 500' or"]),
        ("services: {a: {on_failure: {runbook: x, auto: 'yes'}}}", ["10:47: write true or false", "10:38: unknown runbook 'x'"]),
        ("services: {a: {}}\nserver: {listen: 9096}", ["11:18: '9096': write host:port, such as 127.0.0.1:9096"]),
        ("services: {a: {}}\nserver: {listen: 'localhost:99999'}", ["11:18: 'localhost:99999': write host:port, such as 127.0.0.1:9096"]),
        ("services: {a: {}}\nserver: {external_url: example.com}", ["11:24: 'example.com' is not a URL: write http://host:port/path or https://host/path"]),
        ("services: {a: {}}\nserver: {external_url: 'http://x:99999'}", ["11:24: 'http://x:99999' is not a URL: Port out of range"]),
        ("services: {a: {}}\nserver: {external_url: 'http://['}", ["11:24: 'http://[' is not a URL: Invalid IPv6"]),
        ("services: {a: {running_version: {http: 'http://x:${service.name}/'}}}", []),
        ("services: {a: {}}\nserver: {external_url: 'https://me:pw@example.com'}", ["11:24: a URL holds no user or password: put"]),
        ("services: {a: {}}\nstore: {url: 'postgresql://x'}", ["11:14: 'postgresql://x': write sqlite:/// and the path of a file, such"]),
        ("services: {a: {}}\nauth: {people: [{name: x, role: ingest, token_file: t}]}", ["11:33: 'ingest': write 'viewer'"]),
        ("services: {a: {}}\nauth: {people: [{name: x}]}", ["11:17: 'role' is missing", "11:17: 'token_file' is missing"]),
        ("services: {a: {}}\ncontacts: [{role: technical, name: ''}]", ["11:36: '': write one line of text"]),
        ("services: {a: {}}\nreport: {language: de}", ["11:20: 'de': write 'en' or 'zh'"]),
        ("services: [a]", ["10:1: write a map here, {…}"]),
        ("services: {}", ["10:1: there is no service: name at least one under 'services'"]),
        ("services: {a: }", ["10:12: nothing stands here: give it a value, {} for none, or take it out"]),
    ],
)  # fmt: skip
def test_a_wrong_key(tmp_path: Path, text: str, errors: list[str]) -> None:
    found = errors_of(tmp_path, BASE + text)
    assert len(found) == len(errors)
    assert all(any(one.startswith(error) for one in found) for error in errors), found


def test_what_is_refused_is_not_also_missing(tmp_path: Path) -> None:
    """A list that lost its only entry, a required key with a bad value: one error each, not two."""
    text = BASE.replace("window: 1m}\n  latency", "window: 1}\n  latency") + "services: {a: {match: ['(']}}"
    assert [error.split(":")[:2] for error in errors_of(tmp_path, text)] == [["3", "118"], ["10", "24"]]


def test_a_misspelt_key_is_read_as_it_was_meant(tmp_path: Path) -> None:
    text = BASE.replace("prometheus:", "promethues:") + "servces: {a: {triger: [SlowResponce], vars: {b: 1}}}"
    assert errors_of(tmp_path, text) == [
        "1:1: unknown key 'promethues': did you mean 'prometheus'?",
        "10:1: unknown key 'servces': did you mean 'services'?",
        "10:15: unknown key 'triger': did you mean 'triggers'?",
        "10:24: unknown trigger 'SlowResponce': did you mean 'SlowResponse'?",
        '10:49: 1 is not a text: put it in quotes, "1"',
    ]


def test_a_misspelt_key_beside_the_right_one_is_only_unknown(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, BASE + "services: {a: {mode: observe, mod: auto}}")
    assert errors == ["10:31: unknown key 'mod': did you mean 'mode'?"]


def test_errors_in_several_entries_of_a_list_keep_their_lines(tmp_path: Path) -> None:
    people = ["{name: a, role: x, token_file: t}", "{name: b}", "{name: c, role: ci, token_file: none}"]
    text = "services: {a: {}}\nauth:\n  people:\n" + "".join(f"    - {person}\n" for person in people)
    errors = errors_of(tmp_path, BASE + text)
    assert [error.split(" ")[0] for error in errors] == ["13:23:", "14:7:", "14:7:", "15:39:"]
