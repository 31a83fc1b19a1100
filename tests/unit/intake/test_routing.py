"""Exactly one service, and one trigger of it that answers the rule: everything else acts on nothing."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.intake.routing import Routing
from rollbackd.model.condition import Condition
from rollbackd.model.matchers import parse_matchers
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from tests.fakes.policies import error_rate, service


def trigger(name: str, *alerts: str) -> Trigger:
    return Trigger(
        name=name,
        indicator=error_rate(),
        breach=Condition.parse("> 0.01"),
        clear=Condition.parse("<= 0.005"),
        hold_for=timedelta(minutes=2),
        alerts=alerts or (name,),
    )


def policy(name: str, match: str, *triggers: Trigger) -> ServicePolicy:
    return replace(service(name), match=parse_matchers(match), triggers=triggers or (trigger("HighErrorRate"), trigger("SlowResponse")))


def routing(*policies: ServicePolicy) -> Routing:
    return Routing({one.name: one for one in policies})


FLEET = routing(
    policy("api", 'service="api",env="staging"'),
    policy("api-prod", 'service="api",env="prod"'),
    policy("web", '{service=~"web|frontend"}'),
    policy("default", 'team="",service!~"api|web|frontend",env!=""'),
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"service": "api", "env": "staging"}, "api"),
        ({"service": "api", "env": "prod", "zone": "a"}, "api-prod"),
        ({"service": "frontend"}, "web"),
        ({"service": "else", "env": "x"}, "default"),
        ({"service": "else", "env": "x", "team": ""}, "default"),
    ],
)
def test_one_service_matches(labels: Mapping[str, str], expected: str) -> None:
    route = FLEET.route({"alertname": "SlowResponse", **labels})
    assert (route.service, route.trigger, route.reason) == (expected, "SlowResponse", None)
    assert expected in route.why
    assert "SlowResponse" in route.why


@pytest.mark.parametrize(
    "labels", [{}, {"service": "api"}, {"service": "api", "env": "dev"}, {"service": "web2"}, {"service": "else", "env": "x", "team": "a"}]
)
def test_no_service_matches(labels: Mapping[str, str]) -> None:
    route = FLEET.route({"alertname": "HighErrorRate", **labels})
    assert (route.service, route.trigger, route.reason) == (None, None, Reason.NO_SERVICE)
    assert "no service" in route.why


def test_several_match_and_none_is_taken() -> None:
    route = routing(policy("a", 'service="x"'), policy("b", 'env="y"'), policy("c", 'service="z"')).route(
        {"service": "x", "env": "y", "alertname": "HighErrorRate"}
    )
    assert (route.service, route.trigger, route.reason) == (None, None, Reason.AMBIGUOUS_SERVICE)
    assert "a, b:" in route.why


def test_of_many_that_match_the_first_are_named() -> None:
    route = routing(*(policy(f"s{number}", 'env="x"') for number in range(1000))).route({"env": "x"})
    assert route.reason is Reason.AMBIGUOUS_SERVICE
    assert "s0, s1, s2, s3, s4 and 995 more" in route.why


def test_the_trigger_is_found_by_the_rules_that_it_answers() -> None:
    fleet = routing(policy("api", 'service="api"', trigger("HighErrorRate", "ApiErrors", "ApiErrorsFast"), trigger("SlowResponse")))
    assert fleet.route({"service": "api", "alertname": "ApiErrorsFast"}).trigger == "HighErrorRate"
    assert fleet.route({"service": "api", "alertname": "SlowResponse"}).trigger == "SlowResponse"


@pytest.mark.parametrize("labels", [{"alertname": "HighErrorRate"}, {"alertname": ""}, {}])
def test_a_rule_that_no_trigger_answers(labels: Mapping[str, str]) -> None:
    route = routing(policy("api", 'service="api"', trigger("HighErrorRate", "ApiErrors"))).route({"service": "api", **labels})
    assert (route.service, route.trigger, route.reason) == (None, None, Reason.NO_SERVICE)
    assert "no trigger of api answers" in route.why


def test_of_two_triggers_for_one_rule_the_first_answers() -> None:
    fleet = routing(policy("api", 'service="api"', trigger("First", "Rule"), trigger("Second", "Rule")))
    assert fleet.route({"service": "api", "alertname": "Rule"}).trigger == "First"


def test_nothing_configured() -> None:
    assert routing().route({"service": "api"}).reason is Reason.NO_SERVICE


def test_a_service_is_found_by_the_label_that_tells_it_from_the_others() -> None:
    fleet = routing(*(policy(f"s{number}", f'env="staging",service="s{number}"') for number in range(1000)))
    assert fleet.route({"env": "staging", "service": "s7", "alertname": "HighErrorRate"}).service == "s7"
    assert fleet._others == []
    assert {len(found) for found in fleet._by_label["service"].values()} == {1}, "so one service is asked, however many there are"
    assert fleet._by_label.keys() == {"service"}
