"""Our matchers against Alertmanager's own: which routes does a real `amtool` say that a label set takes?"""

import json
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from rollbackd.model.matchers import Matcher, MatchOperator, parse_matchers
from tests.e2e.programs import program

MATCHERS = [
    'service="api"',
    "service=api",
    " service = api ",
    "service!=api",
    'service=~"api|web"',
    "service!~api|web",
    "service=~api.*",
    "service=~.*",
    "service=~.+",
    "service!~.+",
    "service=",
    'service=""',
    "service!=",
    "service==api",
    '{service="api",env="prod"}',
    'service="api", env!="prod",',
    'service=~"a.*" , env=~"p.*|s.*"',
    'service="a,b",env=prod',
    r'service="say \"hi, you\"",env=prod',
    r"service=say \"hi",
    r'service="two\nlines"',
    r'service="back\\slash"',
    r"service=back\slash",
    r'service="a\tb"',
    'service="tail\\\\"',
    "service=tail\\",
    'service="a\\,"',
    'service="ünï"',
    "service=~ün.",
    "service=~(?i)API",
    "service=~(?i:API)-1",
    "service=~a.c",
    "service=~(?s)a.c",
    r"service=~api-\d+",
    r"service=~\w+",
    r"service=~a\sb",
    r"service=~\S+",
    "service=~[^a-c]+",
    "service=~[]a]+",
    'service=~"a{2,3}"',
    "service=~api$",
    "service=~^api",
    r"service=~\bapi\b",
    r"service=~a\.b",
    r"service=~\x61pi",
    "service=~a{b}",
    "service=~|api",
    "service=~(?P<x>a)pi",
    "service=~a+?p*?i??",
    'service="{api}"',
    "service={api}",
    "a:b=c",
    "service=~'api'",
]
LABEL_SETS: list[dict[str, str]] = [
    {},
    {"service": "api"},
    {"service": "api", "env": "prod"},
    {"service": "web", "env": "staging"},
    {"service": "API"},
    {"service": "api-1"},
    {"service": "API-1"},
    {"service": "=api"},
    {"service": "a,b", "env": "prod"},
    {"service": 'say "hi, you"', "env": "prod"},
    {"service": 'say "hi'},
    {"service": "two\nlines"},
    {"service": "back\\slash"},
    {"service": "a\\tb"},
    {"service": "a\tb"},
    {"service": "tail\\"},
    {"service": "a\\,", "env": "prod"},
    {"service": "ünï"},
    {"service": "a c"},
    {"service": "a\nc"},
    {"service": "abc"},
    {"service": "api-٣"},
    {"service": "]a]"},
    {"service": "aa"},
    {"service": "aaaa"},
    {"service": "api\n"},
    {"service": "a.b"},
    {"service": "a{b}"},
    {"service": "{api}"},
    {"service": "{api"},
    {"service": "'api'"},
    {"a:b": "c"},
    {"env": "prod"},
]
REFUSED = [
    "service",
    "=api",
    "1a=b",
    "a-b=c",
    "a=b,,c=d",
    'a="b',
    'a=b"',
    'a="b"c',
    r'a="b\"',
    'a=~"("',
    "a=~(?=b)",
    "a=~(?!b)",
    r"a=~(b)\\1",
    "a=~b++",
    "a=~(?>b)",
    "a=~(?x)b",
    r"a=~\Z",
    'a=~"b{1001}"',
    'a="b\\,",c=d',
]


def _config(path: Path, routes: list[str]) -> Path:
    tree = [{"receiver": str(number), "continue": True, "matchers": [text]} for number, text in enumerate(routes)]
    receivers = [{"name": name} for name in ["none", *(str(number) for number in range(len(routes)))]]
    path.write_text(json.dumps({"route": {"receiver": "none", "routes": tree}, "receivers": receivers}))
    return path


def _amtool(config: Path, labels: dict[str, str]) -> subprocess.CompletedProcess[str]:
    quoted = [f'{name}="{_escaped(value)}"' for name, value in labels.items()]
    command = [str(program("amtool")), "config", "routes", "test", "--config.file", str(config), *quoted]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _config(tmp_path_factory.mktemp("amtool") / "alertmanager.json", MATCHERS)


@pytest.mark.parametrize("labels", LABEL_SETS, ids=repr)
def test_alertmanager_takes_the_same_routes(config: Path, labels: dict[str, str]) -> None:
    answer = _amtool(config, labels)
    assert answer.returncode == 0, answer.stderr
    theirs = {int(name) for name in answer.stdout.strip().split(",") if name.isdecimal()}
    ours = {number for number, text in enumerate(MATCHERS) if all(matcher.matches(labels) for matcher in parse_matchers(text))}
    assert [MATCHERS[number] for number in sorted(ours ^ theirs)] == []


def test_alertmanager_reads_back_what_we_write(tmp_path: Path) -> None:
    written = [", ".join(str(matcher) for matcher in parse_matchers(text)) for text in MATCHERS]
    config = _config(tmp_path / "written.json", written)
    for labels in LABEL_SETS:
        answer = _amtool(config, labels)
        theirs = {int(name) for name in answer.stdout.strip().split(",") if name.isdecimal()}
        ours = {number for number, text in enumerate(MATCHERS) if all(matcher.matches(labels) for matcher in parse_matchers(text))}
        assert ours == theirs, labels


def test_prometheus_reads_what_we_write(tmp_path: Path) -> None:
    selectors = [", ".join(str(matcher) for matcher in parse_matchers(text)) for text in MATCHERS if ":" not in text.split("=")[0]]
    rules = [{"alert": f"R{number}", "expr": f"up{{{selector}}} > 0"} for number, selector in enumerate(selectors)]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "selectors", "rules": rules}]}))
    answer = subprocess.run(
        [str(program("promtool")), "check", "rules", str(file)], capture_output=True, text=True, timeout=20, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert f"{len(selectors)} rules found" in answer.stdout


def test_what_we_take_as_a_regex_matches_the_same_there(tmp_path: Path) -> None:
    chance = random.Random(20251102)
    texts: list[str] = []
    while len(texts) < 300:
        text = "".join(chance.choices("ab(|)[]^$.*+?{},1-dbz:i=!<&~PU\\", k=chance.randint(1, 9)))
        with suppress(ValueError):
            texts.append(str(Matcher("a", MatchOperator.REGEX, text)))
    config = _config(tmp_path / "random.json", texts)
    for value in ["", "a", "b", "ab", "aab", "A", "1", "-", "]", "$", "a\n", "{1}"]:
        answer = _amtool(config, {"a": value})
        assert answer.returncode == 0, answer.stderr
        theirs = {texts[int(name)] for name in answer.stdout.strip().split(",") if name.isdecimal()}
        assert theirs == {text for text in texts if parse_matchers(text)[0].matches({"a": value})}, value


@pytest.mark.parametrize("text", REFUSED)
def test_alertmanager_refuses_what_we_refuse(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_matchers(text)
    assert _amtool(_config(tmp_path / "refused.json", [text]), {"a": "b"}).returncode != 0
