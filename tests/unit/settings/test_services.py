"""What a service becomes: defaults, template and its own settings, names resolved, placeholders filled."""

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.model.condition import Condition
from rollbackd.model.matchers import Matcher, MatchOperator, parse_matchers
from rollbackd.model.policy import (
    ApiSource,
    BudgetPolicy,
    CommandSource,
    FreezeWindow,
    Inconclusive,
    Mode,
    SecretRef,
    ServicePolicy,
    WatchPolicy,
    WhileRolling,
)
from rollbackd.model.runbook import CredentialRef, HttpAsk, Probe, PromqlAsk, RunAsk
from tests.unit.settings.builders import BASE, QUICK, settings_of

EMERGENCY = QUICK.replace("quick", "stop", 1).replace("kind: quick", "kind: emergency")


def policy_of(directory: Path, text: str, *, name: str = "a", base: str = BASE) -> ServicePolicy:
    files = {"token": "x", "other": "y"}
    return settings_of(directory, base + text, runbooks={"quick": QUICK, "stop": EMERGENCY}, files=files).services[name]


def test_what_holds_when_nothing_is_written(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "services: {a: {}}")
    own = (Matcher("service", MatchOperator.EQUAL, "a"),)
    assert (policy.match, policy.selector) == (own, own)
    assert [trigger.name for trigger in policy.triggers] == ["HighErrorRate", "SlowResponse"]
    assert [objective.name for objective in policy.objectives] == ["errors"]
    assert (policy.prometheus, policy.scrape_interval) == ("main", timedelta(seconds=15))
    assert (policy.recheck_every, policy.max_sample_age) == (timedelta(seconds=15), timedelta(seconds=30))
    plain = ServicePolicy(
        name="a",
        match=own,
        selector=own,
        triggers=policy.triggers,
        objectives=policy.objectives,
        prometheus="main",
        scrape_interval=timedelta(seconds=15),
        max_sample_age=timedelta(seconds=30),
        recheck_every=timedelta(seconds=15),
    )
    assert policy == plain  # the defaults of the config are those of the model


def test_every_setting_arrives(tmp_path: Path) -> None:
    text = """\
prometheus: {url: http://p, scrape_interval: 10s}
services:
  a:
    mode: propose
    blame: off
    inconclusive: escalate
    recheck_every: 20s
    give_up_after: 11m
    blame_window: 2h
    baseline: 3h
    max_quiet: 4m
    max_sample_age: 25s
    cooldown: 2h
    while_rolling: act
    budget: {service_per_day: 1, fleet_per_hour: 2}
    fleet_brake: {services: 4, within: 6m}
    settling: 31s
    approval: {expires: 16m}
    escalation_timeout: 2h
    freeze: [{cron: 0 18 * * fri, duration: 1h, tz: Europe/Berlin}]
    watch: {duration: 11m, interval: 16s, stable_for: 4m}
    guard_for: 2h
    readiness_every: 6m
    version_label: version
    spread: [instance]
    vars: {env: staging, hosts: [h1, h2]}
    runbook: quick
    on_failure: {runbook: stop, auto: true}
    credentials: {TOKEN: {file: token}}
    triggers: [SlowResponse]
    objectives: []
"""
    policy = policy_of(tmp_path, text, base=BASE.split("\n", 1)[1])
    assert policy.mode is Mode.PROPOSE
    assert policy.blame is False
    assert policy.inconclusive is Inconclusive.ESCALATE
    assert policy.recheck_every == timedelta(seconds=20)
    assert policy.scrape_interval == timedelta(seconds=10)
    assert policy.give_up_after == timedelta(minutes=11)
    assert (policy.blame_window, policy.baseline, policy.max_quiet) == (timedelta(hours=2), timedelta(hours=3), timedelta(minutes=4))
    assert policy.max_sample_age == timedelta(seconds=25)
    assert policy.cooldown == timedelta(hours=2)
    assert policy.while_rolling is WhileRolling.ACT
    assert policy.budget == BudgetPolicy(service_per_day=1, fleet_per_hour=2)
    assert (policy.fleet_brake.services, policy.fleet_brake.within) == (4, timedelta(minutes=6))
    assert policy.settling == timedelta(seconds=31)
    assert policy.approval_expires == timedelta(minutes=16)
    assert policy.escalation_timeout == timedelta(hours=2)
    assert policy.freeze == (FreezeWindow(cron="0 18 * * fri", duration=timedelta(hours=1), tz="Europe/Berlin"),)
    assert policy.watch == WatchPolicy(duration=timedelta(minutes=11), interval=timedelta(seconds=16), stable_for=timedelta(minutes=4))
    assert (policy.guard_for, policy.readiness_every) == (timedelta(hours=2), timedelta(minutes=6))
    assert (policy.version_label, policy.spread) == ("version", ("instance",))
    assert policy.vars == {"env": "staging", "hosts": ("h1", "h2")}
    assert policy.runbook is not None
    assert policy.runbook.name == "quick"
    assert policy.on_failure is not None
    assert (policy.on_failure.runbook.name, policy.on_failure.auto) == ("stop", True)
    assert policy.credentials == {"TOKEN": SecretRef(file=str(tmp_path / "token"))}
    assert [trigger.name for trigger in policy.triggers] == ["SlowResponse"]
    assert policy.objectives == ()
    untouched = {"name", "match", "selector", "prometheus", "releases", "running_version", "depends_on"}
    plain = policy_of(tmp_path, "services: {a: {}}")
    same = {field.name for field in fields(ServicePolicy) if getattr(policy, field.name) == getattr(plain, field.name)}
    assert same == untouched


def test_a_service_is_stronger_than_its_template_and_a_template_than_the_defaults(tmp_path: Path) -> None:
    text = """\
defaults: {cooldown: 1m, settling: 1m, guard_for: 1m, budget: {service_per_day: 9, fleet_per_hour: 9}, vars: {a: '1', b: '1', c: '1'}}
templates:
  web: {settling: 2m, guard_for: 2m, budget: {fleet_per_hour: 8}, vars: {b: '2', c: '2'}, credentials: {X: {file: token}}}
services:
  a: {use: web, guard_for: 3m, vars: {c: '3'}, credentials: {Y: {file: other}}}
  b: {vars: {c: '3'}}
"""
    policy = policy_of(tmp_path, text)
    assert (policy.cooldown, policy.settling, policy.guard_for) == (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=3))
    assert policy.vars == {"a": "1", "b": "2", "c": "3"}
    assert policy.budget == BudgetPolicy(service_per_day=9, fleet_per_hour=8)
    assert policy.credentials == {"X": SecretRef(file=str(tmp_path / "token")), "Y": SecretRef(file=str(tmp_path / "other"))}
    plain = policy_of(tmp_path, text, name="b")
    assert (plain.settling, plain.vars, plain.budget.fleet_per_hour) == (timedelta(minutes=1), {"a": "1", "b": "1", "c": "3"}, 9)


def test_what_is_no_map_of_names_is_replaced_as_a_whole(tmp_path: Path) -> None:
    text = """\
defaults: {triggers: [HighErrorRate], running_version: {run: [x]}}
services: {a: {triggers: {SlowResponse: {}}, running_version: {http: http://x/version}}}
"""
    policy = policy_of(tmp_path, text)
    assert [trigger.name for trigger in policy.triggers] == ["SlowResponse"]
    assert policy.running_version == Probe(ask=HttpAsk(url="http://x/version"))


def test_a_service_changes_a_trigger_for_itself_only(tmp_path: Path) -> None:
    text = "services: {a: {triggers: {HighErrorRate: {}, SlowResponse: {breach: '> 800', for: 1m, alerts: [Slow]}}}, b: {}}"
    settings = settings_of(tmp_path, BASE + text)
    own, other = settings.services["a"], settings.services["b"]
    assert own.trigger("SlowResponse").breach == Condition(">", 800.0)
    assert own.trigger("SlowResponse").clear == Condition("<", 500.0)
    assert own.trigger("SlowResponse").hold_for == timedelta(minutes=1)
    assert own.trigger("SlowResponse").alerts == ("Slow",)
    assert other.trigger("SlowResponse").breach == Condition(">", 1000.0)
    assert other.trigger("SlowResponse").alerts == ("SlowResponse",)
    assert own.trigger("HighErrorRate") is other.trigger("HighErrorRate")  # what is the same is shared by a thousand services


def test_a_service_changes_an_indicator_under_its_triggers_and_objectives(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, BASE + "services: {a: {indicators: {errors: {window: 5m}}}, b: {indicators: [errors]}}")
    own, other = settings.services["a"], settings.services["b"]
    assert own.trigger("HighErrorRate").indicator.window == timedelta(minutes=5)
    assert own.trigger("HighErrorRate").indicator.bad == "e{$selector}"
    assert own.objectives[0].indicator is own.trigger("HighErrorRate").indicator
    assert own.trigger("SlowResponse").indicator is other.trigger("SlowResponse").indicator
    assert other.trigger("HighErrorRate").indicator.window == timedelta(minutes=1)


def test_a_service_changes_an_objective(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, BASE + "services: {a: {objectives: {errors: {target: '< 0.1'}}}, b: {}}")
    assert settings.services["a"].objectives[0].target == Condition("<", 0.1)
    assert settings.services["b"].objectives[0].target == Condition("<", 0.005)


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ('\'service="${service.name}",env="${vars.env}"\'', 'service="a.b",env="x|y"'),
        ("['service=\"${service.name}\"', 'env=\"${vars.env}\"']", 'service="a.b",env="x|y"'),
        ("'service=~\"${service.name}-.*\"'", r'service=~"a\\.b-.*"'),
        ("'env=~\"${vars.env}\"'", r'env=~"x\\|y"'),
        ("'q=\"${vars.quote}\"'", r'q="say \"hi\", you"'),
        ("'a=b,c!=d'", "a=b,c!=d"),
    ],
)
def test_a_placeholder_in_a_matcher_is_a_literal_value(tmp_path: Path, written: str, filled: str) -> None:
    text = f"services: {{a.b: {{vars: {{env: 'x|y', quote: 'say \"hi\", you'}}, match: {written}, selector: {written}}}}}"
    policy = policy_of(tmp_path, text, name="a.b")
    assert policy.match == policy.selector == parse_matchers(filled)


def test_a_release_source(tmp_path: Path) -> None:
    text = """\
services:
  a:
    vars: {app: shop}
    credentials: {TOKEN: {file: token}}
    releases:
      source: command
      run: [fly, releases, --app, '${vars.app}-${service.name}', --json]
      items: '[]'
      version: Version
      artifact: ImageRef
      started_at: CreatedAt
      live_at: DoneAt
      status: Status
      live_when: [complete]
      failed_when: [failed, interrupted]
      env: {T: {credential: TOKEN}, APP: '${vars.app}'}
      timeout: 20s
  b: {releases: {source: api}}
"""
    policy = policy_of(tmp_path, text)
    assert policy.releases == CommandSource(
        argv=("fly", "releases", "--app", "shop-a", "--json"),
        items="[]",
        version="Version",
        artifact="ImageRef",
        started_at="CreatedAt",
        live_at="DoneAt",
        status="Status",
        live_when=("complete",),
        failed_when=("failed", "interrupted"),
        env={"T": CredentialRef("TOKEN"), "APP": "shop"},
        timeout=timedelta(seconds=20),
    )
    assert policy_of(tmp_path, text, name="b").releases == ApiSource()


@pytest.mark.parametrize(
    ("written", "probe"),
    [
        (
            "{run: [fly, '${service.name}'], jmespath: 'a[].b', env: {A: '${service.name}'}, timeout: 3s}",
            Probe(ask=RunAsk(argv=("fly", "a"), jmespath="a[].b", env={"A": "a"}), timeout=timedelta(seconds=3)),
        ),
        ("{http: 'https://${service.name}.example.com/v', jmespath: v}", Probe(ask=HttpAsk(url="https://a.example.com/v", jmespath="v"))),
        ("{promql: 'build{$selector}', label: version}", Probe(ask=PromqlAsk(query="build{$selector}", label="version"))),
    ],
)
def test_the_running_version(tmp_path: Path, written: str, probe: Probe) -> None:
    assert policy_of(tmp_path, f"services: {{a: {{running_version: {written}}}}}").running_version == probe


def test_named_servers(tmp_path: Path) -> None:
    servers = "{main: {url: http://main}, fly: {url: http://fly, scrape_interval: 1m, timeout: 9s, headers: {X: y}, token_file: token}}"
    base = BASE.replace("{url: http://127.0.0.1:9090}", servers)
    settings = settings_of(tmp_path, base + "services: {a: {}, b: {prometheus: fly}}", files={"token": "x"})
    assert (settings.services["a"].prometheus, settings.services["b"].prometheus) == ("main", "fly")
    assert settings.services["b"].recheck_every == timedelta(minutes=1)
    fly = settings.prometheus["fly"]
    assert (fly.name, fly.url, fly.timeout, fly.headers, fly.token_file) == (
        "fly",
        "http://fly",
        timedelta(seconds=9),
        {"X": "y"},
        tmp_path / "token",
    )


def test_the_only_server_needs_no_name(tmp_path: Path) -> None:
    base = BASE.replace("{url: http://127.0.0.1:9090}", "{eu: {url: http://eu}}")
    assert policy_of(tmp_path, "services: {a: {}}", base=base).prometheus == "eu"
