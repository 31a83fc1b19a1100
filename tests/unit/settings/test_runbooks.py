"""Runbook files: what they become, and their errors. A step of the tested text begins in line 5."""

from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.model.condition import Condition
from rollbackd.model.runbook import (
    CredentialRef,
    HttpAsk,
    OnFailure,
    Probe,
    PromqlAsk,
    Request,
    Run,
    RunAsk,
    Runbook,
    RunbookKind,
    Step,
    Verify,
    Wait,
)
from rollbackd.settings.problems import Problems
from rollbackd.settings.runbooks import Library, read_all
from tests.unit.settings.builders import BASE, QUICK, errors_of, settings_of

HEAD = "name: quick\nkind: quick\nbudget: 10m\nsteps:\n"


def test_every_kind_of_step(tmp_path: Path) -> None:
    text = HEAD + (
        """\
  - name: deploy
    run: [fly, deploy, '${target.artifact}']
    timeout: 5m
    idempotent: true
    retries: 2
    interruptible: true
    on_failure: continue
    env: {TOKEN: {credential: FLY}, TO: '${target.version}'}
    probe: {run: [fly, status], jmespath: 'a[].b', equals: '${target.artifact}', env: {X: y}, timeout: 3s}
  - name: dispatch
    timeout: 10s
    http:
      url: 'https://api.example.com/${service.name}/runs'
      json: {ref: main, inputs: {version: '${target.version}', tries: [1, 2.5, true]}}
      headers: {X-Key: {credential: KEY}, Accept: application/json}
      token: {credential: TOKEN}
      status: [201, 202]
  - {name: page, timeout: 10s, http: {url: 'https://status.example.com/', method: DELETE}}
  - {name: healthy, wait: {http: 'https://x.example.com/healthz', status: 200}, timeout: 2m}
  - name: checks
    timeout: 2m
    verify:
      - {name: errors, promql: 'sum(x{$selector}[$window])', is: '< 0.005'}
      - {name: login, http: 'https://x.example.com/login', status: [200, 204]}
      - {name: database, run: [psql, -c, select 1], exit: 0}
      - {promql: 'build_info', label: version, equals: v1}
"""
    )
    runbook = settings_of(tmp_path, BASE + "services: {a: {}}", runbooks={"quick": text}).runbooks["quick"]
    assert runbook == Runbook(
        name="quick",
        kind=RunbookKind.QUICK,
        budget=timedelta(minutes=10),
        steps=(
            Step(
                name="deploy",
                action=Run(argv=("fly", "deploy", "${target.artifact}"), env={"TOKEN": CredentialRef("FLY"), "TO": "${target.version}"}),
                timeout=timedelta(minutes=5),
                idempotent=True,
                retries=2,
                interruptible=True,
                on_failure=OnFailure.CONTINUE,
                probe=Probe(
                    ask=RunAsk(argv=("fly", "status"), jmespath="a[].b", env={"X": "y"}),
                    equals="${target.artifact}",
                    timeout=timedelta(seconds=3),
                ),
            ),
            Step(
                name="dispatch",
                action=Request(
                    method="POST",
                    url="https://api.example.com/${service.name}/runs",
                    json='{"ref":"main","inputs":{"version":"${target.version}","tries":[1,2.5,true]}}',
                    headers={"X-Key": CredentialRef("KEY"), "Accept": "application/json"},
                    token=CredentialRef("TOKEN"),
                    status=(201, 202),
                ),
                timeout=timedelta(seconds=10),
            ),
            Step(name="page", action=Request(method="DELETE", url="https://status.example.com/"), timeout=timedelta(seconds=10)),
            Step(
                name="healthy",
                action=Wait(until=Probe(ask=HttpAsk(url="https://x.example.com/healthz"), status=(200,))),
                timeout=timedelta(minutes=2),
            ),
            Step(
                name="checks",
                timeout=timedelta(minutes=2),
                action=Verify(
                    checks=(
                        Probe(name="errors", ask=PromqlAsk(query="sum(x{$selector}[$window])"), satisfies=Condition("<", 0.005)),
                        Probe(name="login", ask=HttpAsk(url="https://x.example.com/login"), status=(200, 204)),
                        Probe(name="database", ask=RunAsk(argv=("psql", "-c", "select 1")), exit_code=0),
                        Probe(ask=PromqlAsk(query="build_info", label="version"), equals="v1"),
                    )
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("step", "errors"),
    [
        ("{name: a, run: [x]}", ["5:5: 'timeout' is missing: every step needs one, such as 5m"]),
        ("{timeout: 5, run: [x, '${y}']}", ["5:5: 'name' is missing", "5:15: '5' is not a duration", "5:27: unknown placeholder ${y}"]),
        ("{run: [x], timeout: 1m}", ["5:5: 'name' is missing"]),
        ("{name: a, timeout: 1m}", ["5:5: a step is one of run, http, wait, verify, manual: here none"]),
        ("{name: a, timeout: 1m, run: [x], wait: {http: 'http://x', status: 200}}", ["5:5: a step is one of run, http, wait, verify"]),
        ("{name: a, timeout: 1m, run: []}", ["5:28: put at least one in this list"]),
        ("{name: a, timeout: 1m, run: x}", ["5:33: write a list here"]),
        ("{name: a, timeout: 1m, run: [x, 1.10]}", ['5:37: 1.10 is not a text: put it in quotes, "1.10"']),
        ("{name: a, timeout: 1m, runn: [x]}", ["5:28: unknown key 'runn': did you mean 'run'?"]),
        ("{name: a, timeout: 1m, http: {url: x}}", ["5:40: 'x' is not a URL"]),
        ("{name: a, timeout: 1m, http: {method: POST}}", ["5:28: 'url' is missing"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', method: get}}", ["5:60: 'get': write 'GET', 'POST', 'PUT', 'PATCH' or 'DELETE'"]),
        ("{name: a, timeout: 1m, http: {url: 'http://${target.version}/'}}", ["5:40: ${target.version} cannot be part of the host"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x/${target.version}'}}", []),
        ("{name: a, timeout: 1m, http: {url: 'http://169.254.169.254/latest'}}", ["5:40: 'http://169.254.169.254/latest' has a link"]),
        ("{name: a, timeout: 1m, http: {url: 'http://u:p@x/'}}", ["5:40: a URL holds no user or password"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', json: {a: [{b: '${b}'}]}}}", ["5:67: unknown placeholder ${b}"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', headers: {Authorization: Bearer x}}}", ["5:77: a secret does not stand in a"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', headers: {idempotency-key: x}}}", ["5:62: idempotency-key is written by"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', headers: {'a b': x}}}", ["5:62: 'a b': the name of a header is"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', headers: {A: \"x\\ny\"}}}", ["5:65: write the value of a header as one line"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x', headers: {A: '${x}'}}}", ["5:65: unknown placeholder ${x}"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x'}, interruptible: true}", ["5:53: a request that was sent is not taken back"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x'}, env: {A: x}}", ["5:53: 'env' belongs to run: http has none"]),
        ("{name: a, timeout: 1m, http: {url: 'http://x'}, run: [x]}", ["5:5: a step is one of run, http, wait, verify, manual:"]),
        ("{name: a, timeout: 1m, manual: look}", ["5:28: a quick runbook runs by itself, and nobody may be there to tick this"]),
        ("{name: a, timeout: 1m, run: [x], undo: {run: [y, '${target.version}'], env: {A: b}, timeout: 5s, idempotent: true}}", []),
        ("{name: a, timeout: 1m, run: [x], undo: {http: {url: 'http://x'}}}", []),
        ("{name: a, timeout: 1m, run: [x], undo: {}}", ["5:38: an undo is one of run, http: here none is written"]),
        ("{name: a, timeout: 1m, run: [x], undo: {run: ['${target.version}']}}", ["5:51: ${target.version} cannot be the command itself"]),
        ("{name: a, timeout: 1m, run: [x], undo: {run: [y, '${x}']}}", ["5:54: unknown placeholder ${x}"]),
        ("{name: a, timeout: 1m, wait: {http: 'http://x', status: 200}, undo: {run: [x]}}", ["5:67: 'undo' belongs to run and http"]),
        ("{name: a, timeout: 1m, run: [x, '${item}'], for_each: '${vars.hosts}', max_parallel: 2, stop_after_failures: 3}", []),
        ("{name: a, timeout: 1m, run: [x], for_each: 'hosts'}", ["5:48: 'hosts': name one variable that is a list"]),
        ("{name: a, timeout: 1m, run: [x, '${item}']}", ["5:37: unknown placeholder ${item}"]),
        ("{name: a, timeout: 1m, run: [x], max_parallel: 2}", ["5:38: 'max_parallel' belongs to for_each"]),
        ("{name: a, timeout: 1m, run: [x], stop_after_failures: 2}", ["5:38: 'stop_after_failures' belongs to for_each"]),
        ("{name: a, timeout: 1m, run: [x], on_failure: retry}", ["5:50: 'retry': write 'stop' or 'continue'"]),
        ("{name: a, timeout: 1m, run: [x], retries: 99}", ["5:47: input should be less than or equal to 10"]),
        ("{name: a, timeout: 1m, run: ['${target.version}']}", ["5:34: ${target.version} cannot be the command itself"]),
        ("{name: a, timeout: 1m, run: [x, '${targt.version}']}", ["5:37: unknown placeholder ${targt.version}: did you mean"]),
        ("{name: a, timeout: 1m, run: [sh, 'echo ${HOME}']}", ["5:38: unknown placeholder ${HOME}"]),
        ("{name: a, timeout: 1m, run: [x, '${target.version']}", ["5:37: '${target.version' has no end"]),
        ("{name: a, timeout: 1m, run: [x, '${vars.}']}", ["5:37: unknown placeholder ${vars.}"]),
        ("{name: a, timeout: 1m, run: [x, '$5 $ $$ {x}']}", []),
        ("{name: a, timeout: 1m, run: [x], env: {A: '${x}'}}", ["5:47: unknown placeholder ${x}"]),
        ("{name: a, timeout: 1m, run: [x], env: {A: {credentials: X}}}", ["5:48: unknown key 'credentials': did you mean 'credential'?"]),
        ("{name: a, timeout: 1m, run: [x], env: {A-B: x}}", ["5:44: 'A-B': a variable's name is letters, digits and _"]),
        ("{name: a, timeout: 1m, wait: {http: 'http://x', status: 200}, env: {A: x}}", ["5:67: 'env' belongs to run: wait has none"]),
        ("{name: a, timeout: 1m, wait: {http: 'http://x'}}", ["5:28: say which one answer is hoped for: equals or status; here none"]),
        ("{name: a, timeout: 1m, wait: {run: [x], exit: 0, equals: y}}", ["5:28: say which one answer is hoped for: equals or exit; here"]),
        ("{name: a, timeout: 1m, wait: {http: 'http://x', is: '> 1'}}", ["5:53: 'is' belongs to promql: http has none"]),
        ("{name: a, timeout: 1m, wait: {promql: q, status: 200}}", ["5:46: 'status' belongs to http: promql has none"]),
        ("{name: a, timeout: 1m, wait: {promql: q, jmespath: a, is: '> 1'}}", ["5:46: 'jmespath' belongs to run and http: promql"]),
        ("{name: a, timeout: 1m, wait: {promql: q, equals: '1'}}", ["5:46: 'equals' needs a 'label'"]),
        ("{name: a, timeout: 1m, wait: {promql: q, is: '> 3x'}}", ["5:50: '> 3x' is relative: a question has no baseline"]),
        ("{name: a, timeout: 1m, wait: {run: [x], http: 'http://x', status: 200}}", ["5:28: ask one of run, http, promql: here"]),
        ("{name: a, timeout: 1m, wait: {http: 'ftp://x', status: 200}}", ["5:41: 'ftp://x' is not a URL"]),
        ("{name: a, timeout: 1m, wait: {http: 'http://${target.version}/', status: 200}}", ["5:41: ${target.version} cannot be part of"]),
        ("{name: a, timeout: 1m, wait: {http: 'http://${vars.h}/${target.version}', status: 200}}", []),
        ("{name: a, timeout: 1m, wait: {http: 'http://x', status: 99}}", ["5:61: input should be greater than or equal to 100"]),
        ("{name: a, timeout: 1m, verify: []}", ["5:28: put at least one in this list"]),
        ("{name: a, timeout: 1m, verify: [{run: [x], exit: 0}, {run: [x]}]}", ["5:58: say which one answer is hoped for: equals or exit"]),
        ("{name: a, timeout: 1m, run: [x], probe: {run: [x]}}", ["5:38: say which one answer is hoped for: equals or exit; here none"]),
        ("{name: a, timeout: 1m, verify: [{promql: 'x{a=\"${b}\"}', is: '> 1'}]}", []),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be(tmp_path: Path, step: str, errors: list[str]) -> None:
    found = errors_of(tmp_path, BASE + "services: {a: {}}", runbooks={"quick": f"{HEAD}  - {step}\n"})
    assert len(found) == len(errors), found
    assert all(any(one.startswith(f"runbooks/quick.yaml:{error}") for one in found) for error in errors), found


def test_the_head_of_a_runbook(tmp_path: Path) -> None:
    found = errors_of(tmp_path, BASE + "services: {a: {}}", runbooks={"x": "name: x\nkind: fast\nsteps: []\n"})
    assert found == [
        "runbooks/x.yaml:1:1: 'budget' is missing: how long the whole runbook may take, such as 10m",
        "runbooks/x.yaml:2:7: 'fast': write 'quick', 'full', 'data' or 'emergency'",
        "runbooks/x.yaml:3:1: put at least one in this list",
    ]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    (found,) = errors_of(tmp_path, BASE + "services: {a: {}}", runbooks={"a": QUICK, "b": QUICK})
    assert found == "runbooks/b.yaml:1:7: a runbook 'quick' is already in runbooks/a.yaml:1:1: give each its own name"


def test_a_broken_runbook_is_reported_in_its_own_file_only(tmp_path: Path) -> None:
    text = BASE + "services: {a: {mode: auto, runbook: quick}, b: {mode: auto, runbook: other}}"
    found = errors_of(tmp_path, text, runbooks={"quick": HEAD + "  - {name: a}\n", "other": "name: ["})
    assert [error.split(":")[0] for error in found] == ["runbooks/other.yaml", "runbooks/quick.yaml", "runbooks/quick.yaml"]


def test_without_runbooks_there_are_none(tmp_path: Path) -> None:
    assert read_all(tmp_path / "runbooks", Problems()) == Library()
