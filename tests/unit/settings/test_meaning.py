"""Errors of several keys together: where they are reported, and in which words. The tested text begins in line 10."""

from pathlib import Path

import pytest

from tests.unit.settings.builders import BASE, QUICK, errors_of

EMERGENCY = QUICK.replace("quick", "stop", 1).replace("kind: quick", "kind: emergency")
FULL = QUICK.replace("quick", "full", 1).replace("kind: quick", "kind: full")
RUNBOOKS = {"quick": QUICK, "stop": EMERGENCY, "full": FULL}


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("services: {a: {triggers: [HighErrorRat]}}", ["10:27: unknown trigger 'HighErrorRat': did you mean 'HighErrorRate'?"]),
        ("services: {a: {triggers: {Other: {}}}}", ["10:27: unknown trigger 'Other': there is HighErrorRate, SlowResponse"]),
        ("services: {a: {objectives: [err]}}", ["10:29: unknown objective 'err': did you mean 'errors'?"]),
        ("services: {a: {indicators: {err: {window: 2m}}}}", ["10:29: unknown indicator 'err': did you mean 'errors'?"]),
        ("services: {a: {triggers: {SlowResponse: {indicator: x}}}}", ["10:53: unknown indicator 'x': there is errors, latency"]),
        ("services: {a: {objectives: {errors: {indicator: errrs}}}}", ["10:49: unknown indicator 'errrs': did you mean 'errors'?"]),
        ("services: {a: {triggers: []}}", ["10:12: a has no trigger: define one under 'triggers', and name it here"]),
        ("services: {a: {use: wep}}\ntemplates: {web: {}}", ["10:21: unknown template 'wep': did you mean 'web'?"]),
        ("services: {a: {prometheus: fly}}", ["10:28: unknown prometheus server 'fly': there is main"]),
        ("services: {a: {runbook: quik}}", ["10:25: unknown runbook 'quik': did you mean 'quick'? (the files are in runbooks/"]),
        ("services: {a: {depends_on: [b]}}", ["10:29: a depends on the unknown service 'b': there is a"]),
        ("services: {a: {depends_on: [a]}}", ["10:29: a depends on itself"]),
        ("services: {a: {}}\nunits: {u: {services: [a, b], order: [b]}}", ["11:27: unknown service 'b'", "11:39: unknown service 'b'"]),
        ("services: {a: {mode: auto}}", ["10:22: a: mode auto needs a 'runbook'"]),
        ("services: {a: {mode: propose}}", ["10:22: a: mode propose needs a 'runbook'"]),
        ("services: {a: {mode: observe}}", []),
        ("services: {a: {mode: auto, runbook: quick}}", []),
        ("services: {a: {runbook: full}}", ["10:25: runbook 'full' is full: only a quick one runs by itself"]),
        ("services: {a: {on_failure: {runbook: quick}}}", ["10:38: runbook 'quick' is quick: on_failure takes an emergency one"]),
        ("services: {a: {on_failure: {runbook: stop}}}", []),
        ("services: {a: {blame_window: 2d}}", ["10:30: a: trigger HighErrorRate looks back 2 d 2 min in steps of 15 s"]),
        ("services: {a: {baseline: 2d}}", ["10:26: a: trigger HighErrorRate looks back 2 d in steps"]),
        ("services: {a: {watch: {duration: 1m, stable_for: 2m}}}", ["10:16: stable_for is longer than duration: nothing could ever"]),
        ("services: {a: {selector: 'a:b=c'}}", ["10:26: a label's name in a selector is letters, digits and _"]),
        ("services: {a: {match: '{}'}}", ["10:23: match names no label: it would take in every service"]),
        # breach and clear
        ("services: {a: {triggers: {SlowResponse: {breach: '> 400'}}}}", ["10:27: breach '> 400' and clear '< 500' overlap"]),
        ("services: {a: {triggers: {SlowResponse: {breach: '> 500'}}}}", []),
        ("services: {a: {triggers: {SlowResponse: {breach: '>= 5', clear: '<= 5'}}}}", ["10:65: breach '>= 5' and clear '<= 5' overlap"]),
        ("services: {a: {triggers: {SlowResponse: {breach: '< 5', clear: '> 4'}}}}", ["10:64: breach '< 5' and clear '> 4' overlap"]),
        ("services: {a: {triggers: {SlowResponse: {breach: '< 5', clear: '>= 5'}}}}", []),
        ("services: {a: {triggers: {SlowResponse: {clear: '> 2000'}}}}", ["10:49: breach '> 1000' and clear '> 2000' look the same way"]),
        ("services: {a: {triggers: {SlowResponse: {breach: '> 3x'}}}}", ["10:27: breach '> 3x' and clear '< 500': either both relative"]),
        ("services: {a: {triggers: {SlowResponse: {breach: '> 3x', clear: '< 2x', at_least: 100}}}}", []),
        (
            "services: {a: {triggers: {SlowResponse: {breach: '> 2x', clear: '< 3x', at_least: 100}}}}",
            ["10:65: breach '> 2x' and clear '< 3x' overlap: no value may be both"],
        ),
        (
            "services: {a: {triggers: {SlowResponse: {breach: '< 0.5x', clear: '> 0.3x'}}}}",
            ["10:67: breach '< 0.5x' and clear '> 0.3x' overlap"],
        ),
        ("services: {a: {triggers: {SlowResponse: {breach: '< 0.3x', clear: '> 0.5x'}}}}", []),
        (
            "services: {a: {triggers: {SlowResponse: {breach: '>= 2x', clear: '<= 2x'}}}}",
            ["10:66: breach '>= 2x' and clear '<= 2x' overlap"],
        ),
        (
            "services: {a: {triggers: {HighErrorRate: {breach: '> 0.001'}}}}",
            ["10:27: breach '> 0.001' and clear '<= 0.005' overlap"],
        ),
        ("services: {a: {triggers: {SlowResponse: {at_least: 100}}}}", ["10:52: at_least is the floor under a relative breach"]),
        ("services: {a: {triggers: {SlowResponse: {alerts: [HighErrorRate]}}}}", []),
        (
            "services: {a: {triggers: {HighErrorRate: {}, SlowResponse: {alerts: [HighErrorRate]}}}}",
            ["10:61: a: the alert rule 'HighErrorRate' is answered by trigger 'HighErrorRate' as well"],
        ),
        ("services: {a: {objectives: {errors: {target: '< 2x'}}}}", []),
        # placeholders
        ("services: {a: {match: 'env=\"${vars.env}\"'}}", ["10:23: a: unknown placeholder ${vars.env}: there is service.name"]),
        (
            "services: {a: {selector: 'env=\"${service.nam}\"'}}",
            ["10:26: a: unknown placeholder ${service.nam}: did you mean 'service.name'?"],
        ),
        ("services: {a: {match: 'v=\"${target.version}\"'}}", ["10:23: a: unknown placeholder ${target.version}"]),
        (
            "services: {a: {match: 'service=${service.name}'}}",
            ["10:23: a: '${service.name' has no end: write ${service.name}, in a matcher"],
        ),
        ("services: {a: {vars: {h: [x, y]}, match: 'h=\"${vars.h}\"'}}", ["10:42: a: ${vars.h} is a list: only for_each takes one"]),
        # questions
        ("services: {a: {running_version: {}}}", ["10:16: ask one of run, http, promql: here none is written"]),
        (
            "services: {a: {running_version: {run: [x], http: 'http://x'}}}",
            ["10:16: ask one of run, http, promql: here run and http is written"],
        ),
        ("services: {a: {running_version: {run: [x], exit: 0}}}", ["10:44: 'exit' says which answer is hoped for: here the answer itself"]),
        ("services: {a: {running_version: {promql: q}}}", ["10:16: 'label' is missing: the label of the answer that holds the version"]),
        ("services: {a: {running_version: {promql: q, label: v, env: {}}}}", ["10:55: 'env' belongs to run: promql has none"]),
        ("services: {a: {running_version: {run: ['${target.version}']}}}", ["10:40: a: unknown placeholder ${target.version}: there is"]),
        ("services: {a: {running_version: {run: [x, '${vars.y}']}}}", ["10:43: a: unknown placeholder ${vars.y}: there is service.name"]),
        (
            "services: {a: {running_version: {run: [x, '${vars.y} ${z}'], env: {T: {credential: TOKEN}}}}}",
            [
                "10:43: a: unknown placeholder ${vars.y}: there is service.name",
                "10:43: a: unknown placeholder ${z}: there is service.name",
                "10:68: a: unknown credential 'TOKEN': there is none",
            ],
        ),
        ("services: {a: {running_version: {http: 'http://x', jmespath: '['}}}", ["10:62: '[' is not a JMESPath expression"]),
        # release sources
        (
            "services: {a: {releases: {source: command, run: [x], items: '[]', version: V, started_at: S, status: T}}}",
            ["10:16: 'live_when' is missing: which values of status mean that a release is live"],
        ),
        (
            "services: {a: {releases: {source: command, run: [x], items: '[]', version: V, started_at: S, live_when: [ok]}}}",
            ["10:16: 'status' is missing: live_when and failed_when are values of it"],
        ),
    ],
)
def test_a_contradiction(tmp_path: Path, text: str, errors: list[str]) -> None:
    found = errors_of(tmp_path, BASE + text, runbooks=RUNBOOKS)
    assert len(found) == len(errors), found
    assert all(any(one.startswith(error) for one in found) for error in errors), found


@pytest.mark.parametrize(
    ("indicator", "error"),
    [
        ("{samples: s, window: 1m}", "write either 'bad' and 'total' (a ratio) or 'query' (a value)"),
        ("{bad: b, total: t, query: q, samples: s, window: 1m}", "write either 'bad' and 'total' (a ratio) or 'query' (a value)"),
        ("{bad: b, samples: s, window: 1m}", "'total' is missing: a ratio has both"),
        ("{total: b, samples: s, window: 1m}", "'bad' is missing: a ratio has both"),
        ("{bad: b, total: t, count: c, samples: s, window: 1m}", "count belongs to a value: a ratio's traffic is its total"),
        ("{query: b, bad_samples: c, samples: s, window: 1m}", "bad_samples belongs to a ratio: take it out"),
        ("{query: b, samples: s, window: 0s}", "must be longer than 0s"),
        ("{query: '', samples: s, window: 1m}", "write a text here"),
    ],
)
def test_an_indicator_is_a_ratio_or_a_value(tmp_path: Path, indicator: str, error: str) -> None:
    text = BASE.replace("triggers:", f"  other: {indicator}\ntriggers:") + "services: {a: {}}"
    (found,) = errors_of(tmp_path, text)
    assert found.startswith("5:")
    assert found.endswith(error)


def test_a_trigger_that_asks_for_traffic_needs_an_indicator_that_counts(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, BASE.replace("count: 'c{$selector}', ", "") + "services: {a: {}}")
    assert error == "7:95: min_requests needs a 'count' in the indicator 'latency'"


def test_also_where_a_service_turns_it_to_one_that_does_not_count(tmp_path: Path) -> None:
    base = BASE.replace("triggers:", "  bare: {query: 'q{$selector}', samples: 'q{$selector}', window: 1m}\ntriggers:", 1)
    (error,) = errors_of(tmp_path, base + "services: {a: {triggers: {SlowResponse: {indicator: bare}}}}")
    assert error == "11:27: min_requests needs a 'count' in the indicator 'bare'"
    assert errors_of(tmp_path, base + "services: {a: {triggers: {SlowResponse: {indicator: bare, min_requests: 0}}}}") == []


def test_no_trigger_at_all(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, "prometheus: {url: http://p}\nservices: {a: {}}")
    assert error == "2:12: a has no trigger: define one under 'triggers', and name it here"


def test_prometheus_is_needed(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, BASE.replace("prometheus: {url: http://127.0.0.1:9090}", "include: []") + "services: {a: {}}")
    assert error == "1:1: 'prometheus' is missing: write prometheus: {url: http://127.0.0.1:9090}"


def test_several_servers_without_a_main_one(tmp_path: Path) -> None:
    text = BASE.replace("{url: http://127.0.0.1:9090}", "{eu: {url: http://eu}, us: {url: http://us}}")
    assert errors_of(tmp_path, text + "services: {a: {prometheus: eu}}") == []
    (error,) = errors_of(tmp_path, text + "services: {a: {}}")
    assert error == "10:12: say which 'prometheus' (eu, us), or name one of them main"


def test_a_broken_server_is_reported_once_however_many_services_use_it(tmp_path: Path) -> None:
    text = BASE.replace("{url: http://127.0.0.1:9090}", "{main: {url: here}, us: {url: http://us}}")
    (error,) = errors_of(tmp_path, text + "services: {a: {}, b: {prometheus: main}, c: {prometheus: us}}")
    assert error.startswith("1:26: 'here' is not a URL")


def test_beyond_loopback_nothing_is_open(tmp_path: Path) -> None:
    closed = "services: {a: {}}\nserver: {listen: '%s'}\n"
    for host in ("127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:0"):
        assert errors_of(tmp_path, BASE + closed % host) == []
    for host in ("0.0.0.0:1", "[::]:1", "example.com:1", "192.0.2.1:1"):
        ingest, people = errors_of(tmp_path, BASE + closed % host)
        assert ingest.startswith("11:18: anyone who reaches")
        assert "auth.ingest.token_file" in ingest
        assert "auth.people" in people
    tokens = "auth: {ingest: {token_file: t}, people: [{name: p, role: viewer, token_file: t}]}"
    assert errors_of(tmp_path, BASE + closed % "0.0.0.0:1" + tokens, files={"t": "token"}) == []


@pytest.mark.parametrize(
    "text",
    [
        "auth: {ingest: {token_file: gone}}",
        "auth: {people: [{name: x, role: viewer, token_file: gone}]}",
        "sentry: {dsn_file: gone}",
        "notify: [{name: chat, url_file: gone}]",
        "server: {tls: {cert_file: gone, key_file: there}}",
        "server: {tls: {cert_file: there, key_file: there, client_ca_file: gone}}",
        "templates: {web: {credentials: {T: {file: gone}}}}",
    ],
)
def test_a_file_that_is_named_is_there(tmp_path: Path, text: str) -> None:
    (error,) = errors_of(tmp_path, BASE + "services: {a: {use: web}, b: {use: web}}\n" + _with_template(text), files={"there": "x"})
    assert error.startswith("11:")
    assert error.endswith("gone: cannot be read: No such file or directory (looked in $CREDENTIALS_DIRECTORY, then beside the config)")


def _with_template(text: str) -> str:
    return text if text.startswith("templates") else f"{text}\ntemplates: {{web: {{}}}}"


def test_a_token_file_is_read(tmp_path: Path) -> None:
    text = BASE + "services: {a: {}}\nauth: {ingest: {token_file: t}}"
    assert errors_of(tmp_path, text, files={"t": "one\ntwo\n"}) == []
    (error,) = errors_of(tmp_path, text, files={"t": "one\ntwo\nthree\n"})
    assert "holds 3 tokens" in error


def test_the_same_file_may_be_a_good_secret_and_bad_tokens(tmp_path: Path) -> None:
    text = BASE + "services: {a: {credentials: {T: {file: t}}}}\nauth: {ingest: {token_file: t}}"
    (error,) = errors_of(tmp_path, text, files={"t": "a secret\n"})
    assert error.startswith("11:29: ")
    assert "secret" not in error.replace(str(tmp_path), "")


def test_people_are_told_apart(tmp_path: Path) -> None:
    people = "auth: {people: [{name: x, role: viewer, token_file: t}, {name: x, role: operator, token_file: t}]}"
    (error,) = errors_of(tmp_path, BASE + "services: {a: {}}\n" + people, files={"t": "token"})
    assert error == "11:64: 'x' is there twice: people are told apart by their names"


def test_a_runbook_asks_for_what_its_service_has(tmp_path: Path) -> None:
    asks = QUICK.replace("timeout: 5m", "timeout: 5m, env: {T: {credential: TOKEN}, H: '${vars.host}'}")
    text = BASE + "services: {a: {mode: propose, runbook: quick}}"
    variable, credential = sorted(errors_of(tmp_path, text, runbooks={"quick": asks}), reverse=True)
    assert credential.startswith("10:40: a has no credential TOKEN, which runbook 'quick' asks for (")
    assert credential.endswith("runbooks/quick.yaml:5:95)")
    assert "a, runbook 'quick' (" in variable
    assert variable.endswith("unknown placeholder ${vars.host}: there is service.name")
    complete = text.replace("runbook: quick", "runbook: quick, vars: {host: h}, credentials: {TOKEN: {file: t}}")
    assert errors_of(tmp_path, complete, runbooks={"quick": asks}, files={"t": "x"}) == []
