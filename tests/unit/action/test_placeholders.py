"""Which text may become part of a command, a URL or an environment."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.action.placeholders import fill, fill_argv, fill_env, fill_json, fill_probe, fill_step, fill_url, values_of
from rollbackd.clock import parse_rfc3339
from rollbackd.errors import MisconfiguredError, RefusedError
from rollbackd.model.reason import Reason
from rollbackd.model.release import VERSION_SYNTAX, Release
from rollbackd.model.runbook import CredentialRef, EnvironmentValue, HttpAsk, Probe, PromqlAsk, Run, RunAsk, Step, Verify, Wait
from tests.fakes.policies import service

VALUES = {"service.name": "api", "target.artifact": "registry/api:v1", "target.version": "v1", "vars.site": "api.example.com:8443"}


def test_values_are_those_of_the_service_and_its_two_releases() -> None:
    policy = replace(service("api"), vars={"env": "staging", "hosts": ("a", "b")})
    release = Release(service="api", version="v1", artifact="img:v1", started_at=parse_rfc3339("2026-01-01T00:00:00Z"))
    assert values_of(policy, current=release) == {
        "service.name": "api",
        "vars.env": "staging",
        "current.version": "v1",
        "current.artifact": "img:v1",
    }


def test_a_value_fills_the_whole_or_a_part() -> None:
    assert fill("${target.artifact}", VALUES) == "registry/api:v1"
    assert fill("--image=${target.artifact}@${service.name}", VALUES) == "--image=registry/api:v1@api"
    assert fill("costs $5", VALUES) == "costs $5"


@pytest.mark.parametrize("text", ["${target.digest}", "${HOME}", "${}", "${ service.name }", "${vars.hosts}"])
def test_an_unknown_name_is_an_error_of_the_config(text: str) -> None:
    with pytest.raises(MisconfiguredError, match=r"not a placeholder here: known are incident\.id, service\.name"):
        fill(text, VALUES)


@pytest.mark.parametrize("text", ["${service.name", "a${", "${service.${service.name}}"])
def test_one_that_does_not_end_is_an_error_of_the_config(text: str) -> None:
    with pytest.raises(MisconfiguredError):
        fill(text, VALUES)


def test_the_incident_is_filled_in_once_there_is_one() -> None:
    planned = fill("${incident.id}:${service.name}", VALUES)
    assert planned == "${incident.id}:api"
    assert fill(planned, {"incident.id": "i1"}) == "i1:api"


def test_what_is_not_known_of_a_service_now_is_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        fill("${current.version}", VALUES)
    assert refused.value.reason == Reason.RUNNING_VERSION_UNKNOWN


@pytest.mark.parametrize("value", ["--kubeconfig=/tmp/x", "-", "a\nb", "a\0b", "a\rb", "a\x1b[2Jb", "a\x85b", "${vars.site}"])
@pytest.mark.parametrize("text", ["${target.version}", "--image=${target.version}"])
def test_a_value_that_could_be_more_than_a_value_is_refused(text: str, value: str) -> None:
    with pytest.raises(RefusedError) as refused:
        fill(text, VALUES | {"target.version": value})
    assert refused.value.reason == Reason.BAD_TARGET
    with pytest.raises(RefusedError):
        fill_url(f"https://example.com/{text}", VALUES | {"target.version": value})


@given(st.from_regex(VERSION_SYNTAX, fullmatch=True))
def test_every_version_that_may_be_recorded_is_one_argument_to_the_byte(version: str) -> None:
    assert fill_argv(("deploy", "${target.version}"), {"target.version": version}) == ("deploy", version)


@given(st.text())
def test_a_filled_argument_never_becomes_an_option_or_two_lines(value: str) -> None:
    try:
        filled = fill("${target.version}", {"target.version": value})
    except RefusedError:
        return
    assert filled == value
    assert not filled.startswith("-")
    assert not {"\0", "\n", "\r"} & set(filled)


@given(st.text())
def test_a_text_in_json_stays_one_text(value: str) -> None:
    try:
        filled = fill_json('{"a": ["x ${target.version}", 1, true, null], "${target.version}": 2}', {"target.version": value})
    except RefusedError:
        return
    assert json.loads(filled) == {"a": [f"x {value}", 1, True, None], "${target.version}": 2}


def test_which_command_it_is_only_the_config_says() -> None:
    assert fill_argv(("${vars.tool}", "x"), {"vars.tool": "kubectl"}) == ("kubectl", "x")
    with pytest.raises(MisconfiguredError, match="the command may not depend on"):
        fill_argv(("./${target.version}",), VALUES)


def test_in_a_url_a_value_from_outside_is_one_segment_and_one_of_the_config_stands_as_written() -> None:
    url = fill_url("https://${vars.site}/deploys/${target.artifact}?of=${service.name}", VALUES)
    assert url == "https://api.example.com:8443/deploys/registry%2Fapi%3Av1?of=api"
    assert fill_url("${vars.base}/healthz", {"vars.base": "http://[::1]:80/a b"}) == "http://[::1]:80/a%20b/healthz"
    assert fill_url(url, {}) == url


@pytest.mark.parametrize("url", ["https://${target.version}.example.com/", "https://x:${incident.id}/"])
def test_the_host_of_a_url_stands_in_the_config(url: str) -> None:
    with pytest.raises(MisconfiguredError, match="the host of a URL may not depend on"):
        fill_url(url, VALUES)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "//host/path", "api.example.com/", "https:///path", "http://[::1/", "${target.version}://x/"]
)
def test_only_http_urls_are_asked(url: str) -> None:
    with pytest.raises(MisconfiguredError, match="is not a URL"):
        fill_url(url, VALUES)


def test_in_promql_every_dollar_is_left_alone() -> None:
    query = 'label_replace(up{$selector}, "a", "${1}", "b", "(.*)$") and ${target.version}'
    probe = fill_probe(Probe(ask=PromqlAsk(query=query), equals="${target.version}"), VALUES)
    assert probe == Probe(ask=PromqlAsk(query=query), equals="v1")


def test_a_credential_stays_a_reference() -> None:
    env: dict[str, EnvironmentValue] = {"TO": "${target.version}", "TOKEN": CredentialRef("TOKEN")}
    assert fill_env(env, VALUES) == {"TO": "v1", "TOKEN": CredentialRef("TOKEN")}


def test_a_step_is_filled_everywhere() -> None:
    def step(version: str, url: str) -> Step:
        ask = Probe(ask=RunAsk(argv=("status", version), env={"V": version}), equals=version)
        return Step(
            name="any",
            action=Verify(checks=(Probe(ask=HttpAsk(url=url), status=(200,)), ask)),
            timeout=timedelta(seconds=1),
            probe=ask,
        )

    assert fill_step(step("${target.version}", "http://h/${target.version}"), VALUES) == step("v1", "http://h/v1")
    run = Step(name="any", action=Run(argv=("x", "${target.version}")), timeout=timedelta(seconds=1))
    assert fill_step(run, VALUES).action == Run(argv=("x", "v1"))
    wait = replace(run, action=Wait(until=Probe(ask=HttpAsk(url="http://h/${target.version}"))))
    assert fill_step(wait, VALUES).action == Wait(until=Probe(ask=HttpAsk(url="http://h/v1")))
