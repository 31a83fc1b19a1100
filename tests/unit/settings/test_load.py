import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.model.condition import Condition
from rollbackd.model.policy import CommandSource, Mode
from rollbackd.settings.effective import Contact, Role
from rollbackd.settings.load import load
from rollbackd.settings.problems import InvalidConfigError, Level, Problem
from tests.unit.settings.builders import BASE, QUICK, errors_of, settings_of, warnings_of, write

EXAMPLE = Path(__file__).parent / "example"


def example(directory: Path) -> Path:
    shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True)
    for name in ("ingest.token", "oncall.token", "ci.token", "fly.token", "sentry.dsn"):
        (directory / name).write_text(f"{name}-value\n")
        (directory / name).chmod(0o600)
    (directory / "slack.url").write_text("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ\n")
    (directory / "slack.url").chmod(0o600)
    return directory / "rollbackd.yaml"


def test_the_complete_example(tmp_path: Path) -> None:
    loaded = load(example(tmp_path))
    settings = loaded.settings
    assert settings.path == tmp_path / "rollbackd.yaml"
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 9096)
    assert settings.server.external_url == "https://rollbackd.example.com"
    assert settings.ingest_token_file == tmp_path / "ingest.token"
    assert [(person.name, person.role) for person in settings.people] == [("oncall", Role.OPERATOR), ("ci", Role.CI)]
    assert settings.store_url == "sqlite:////var/lib/rollbackd/rollbackd.db"
    assert settings.contacts == (Contact(role="technical", name="On-call", channel="chat"),)
    assert settings.sentry is not None
    assert settings.sentry.environment == "staging"
    assert (settings.retention, settings.shutdown_grace) == (timedelta(days=90), timedelta(seconds=30))
    assert settings.runbooks.keys() == {"wemaster-quick", "emergency-stop"}
    assert settings.services.keys() == {"wemaster-staging-api", "wemaster-staging-admin", "wemaster-staging-db"}

    api = settings.services["wemaster-staging-api"]
    assert api.mode is Mode.AUTO
    assert [str(matcher) for matcher in api.match] == ['service="wemaster-staging-api"', 'env="staging"']
    assert api.trigger("SlowResponse").breach == Condition(">", 800.0)
    assert api.trigger("HighErrorRate").indicator.is_ratio
    assert [objective.name for objective in api.objectives] == ["error_rate", "response_time_p95", "availability"]
    assert isinstance(api.releases, CommandSource)
    assert api.releases.argv == ("fly", "releases", "--app", "wemaster-staging-api", "--json")
    assert api.runbook is settings.runbooks["wemaster-quick"]
    assert api.on_failure is not None
    assert api.on_failure.runbook.name == "emergency-stop"
    assert settings.services["wemaster-staging-db"].runbook is None

    assert {problem.level for problem in loaded.problems} == {Level.WARNING}
    assert [problem.message.split(" ")[0] for problem in loaded.problems] == [
        "wemaster-staging-admin",
        "units",
    ]


def test_all_errors_of_all_files_at_once_in_their_order(tmp_path: Path) -> None:
    text = (
        "promethues: {url: nowhere}\n"
        + BASE.split("\n", 1)[1].replace("indicator: latency", "indicator: latenzy").replace("'> 0.01'", "0.01")
        + "include: [more.yaml, gone.yaml, many/*.yaml]\n"
        + "services:\n"
        + "  a: {mod: auto, match: 'x', runbook: quick}\n"
        + "  b: {triggers: [Nothing], cooldown: 5}\n"
    )
    files = {"more.yaml": "services:\n  a: {}\n  c: {blame: perhaps}\nserver: {}\n"}
    runbooks = {"quick": QUICK.replace("timeout: 5m", "timeout: 5"), "broken": "name: [\n"}
    assert [error.split(" ")[0] for error in errors_of(tmp_path, text, runbooks=runbooks, files=files)] == [
        "more.yaml:2:3:",  # a again
        "more.yaml:3:14:",  # perhaps
        "more.yaml:4:1:",  # server
        "1:1:",  # promethues
        "1:19:",  # nowhere
        "6:46:",  # 0.01
        "7:29:",  # latenzy
        "10:22:",  # gone.yaml
        "12:7:",  # mod
        "12:25:",  # x
        "13:18:",  # Nothing
        "13:38:",  # 5
        "runbooks/broken.yaml:2:1:",
        "runbooks/quick.yaml:5:85:",
    ]


def test_the_error_carries_every_problem_and_says_one_in_a_line(tmp_path: Path) -> None:
    config = write(tmp_path, "services: [x]\n")
    with pytest.raises(InvalidConfigError) as error:
        load(config)
    first = Problem(config, 1, 1, "'prometheus' is missing: write prometheus: {url: http://127.0.0.1:9090}")
    second = Problem(config, 1, 1, "write a map here, {…}")
    assert error.value.problems == (first, second)
    assert str(error.value) == f"{first} (and 1 more: 'rollbackd check' lists them all)"
    assert error.value.path == f"{config}:1:1"


@pytest.mark.parametrize("text", ["", "[]", "x", "- a: 1"])
def test_what_is_no_config_at_all(tmp_path: Path, text: str) -> None:
    assert len(errors_of(tmp_path, text)) == 1


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"none\.yaml:1:1: there is no such file"):
        load(tmp_path / "none.yaml")


def test_a_relative_path_stays_relative_in_problems_and_becomes_absolute_in_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, BASE + "services: {a: {credentials: {X: {file: x}}, retention: 1h}}", files={"x": "secret"})
    monkeypatch.chdir(tmp_path)
    loaded = load(Path("rollbackd.yaml"))
    assert loaded.settings.path == tmp_path / "rollbackd.yaml"
    assert loaded.settings.services["a"].credentials["X"].file == str(tmp_path / "x")
    assert str(loaded.problems[0]).startswith("rollbackd.yaml:10:56: retention")


def test_included_files_hold_services(tmp_path: Path) -> None:
    files = {"more/b.yaml": "services: {b: {use: web}}", "more/c.yaml": "services: {c: {}}", "more/d.txt": "not read"}
    text = BASE + "include: [more/*.yaml, none/*.yaml]\ntemplates: {web: {mode: propose, runbook: quick}}\nservices: {a: {depends_on: [b]}}"
    settings = settings_of(tmp_path, text, runbooks={"quick": QUICK}, files=files)
    assert settings.services.keys() == {"a", "b", "c"}
    assert settings.services["b"].mode is Mode.PROPOSE


def test_services_may_stand_in_included_files_alone(tmp_path: Path) -> None:
    assert errors_of(tmp_path, BASE + "include: [b.yaml]", files={"b.yaml": "services: {b: {}}"}) == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("services: {a: {}}", "b.yaml:1:12: service 'a' is already in rollbackd.yaml:11:12"),
        ("services: {c: {mode: auto}}", "b.yaml:1:22: c: mode auto needs a 'runbook'"),
        ("triggers: {}\nservices: {c: {}}", "b.yaml:1:1: unknown key 'triggers': there is services"),
        ("{}", "b.yaml:1:1: 'services' is missing"),
        ("services: {c: {}", "b.yaml:1:17: not YAML: expected ',' or '}', but got '<stream end>', while parsing a flow mapping"),
    ],
)
def test_an_error_in_an_included_file_has_its_name(tmp_path: Path, content: str, error: str) -> None:
    found = errors_of(tmp_path, BASE + "include: [b.yaml]\nservices: {a: {}}", files={"b.yaml": content})
    assert found == [error]


def test_an_include_that_is_no_pattern(tmp_path: Path) -> None:
    (found,) = errors_of(tmp_path, BASE + "include: ['a**b']\nservices: {a: {}}")
    assert found.startswith("10:11: 'a**b': ")


def test_an_absolute_include(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", "services: {b: {}}").parent
    settings = settings_of(tmp_path / "here", BASE + f"include: ['{elsewhere}/*.yaml']\nservices: {{a: {{}}}}")
    assert settings.services.keys() == {"a", "b"}


def test_a_thousand_services_share_what_is_the_same(tmp_path: Path) -> None:
    services = "".join(f"  svc-{number}: {{use: web, vars: {{env: e{number}}}}}\n" for number in range(1000))
    text = BASE + 'templates: {web: {match: \'service="${service.name}",env="${vars.env}"\', runbook: quick}}\nservices:\n' + services
    settings = settings_of(tmp_path, text, runbooks={"quick": QUICK})
    assert len(settings.services) == 1000
    assert str(settings.services["svc-7"].match[1]) == 'env="e7"'
    assert len({id(trigger) for policy in settings.services.values() for trigger in policy.triggers}) == 2
    assert len({id(policy.runbook) for policy in settings.services.values()}) == 1


def test_one_mistake_in_a_template_is_one_error(tmp_path: Path) -> None:
    services = "".join(f"  svc-{number}: {{use: web}}\n" for number in range(50))
    text = BASE + "templates: {web: {runbook: missing, triggers: [Other]}}\nservices:\n" + services
    assert len(errors_of(tmp_path, text)) == 2


def test_a_credential_of_a_service_that_only_observes_is_a_warning(tmp_path: Path) -> None:
    asks = QUICK.replace("timeout: 5m", "timeout: 5m, env: {T: {credential: TOKEN}}")
    (warning,) = warnings_of(tmp_path, BASE + "services: {a: {runbook: quick}}", runbooks={"quick": asks})
    assert warning.startswith("10:25: a has no credential TOKEN, which runbook 'quick' asks for")


def test_every_setting_of_a_service_has_a_place_down_into_its_runbooks(tmp_path: Path) -> None:
    stop = QUICK.replace("quick", "stop", 1).replace("kind: quick", "kind: emergency")
    text = BASE + "defaults: {runbook: quick}\nservices:\n  a:\n    on_failure: {runbook: stop}\n"
    at = load(write(tmp_path, text, runbooks={"quick": QUICK, "stop": stop})).places["a"].at
    found = {
        str(at(*path)).removeprefix(f"{tmp_path}/")
        for path in (
            ("runbook",),
            ("runbook", "steps", 0, "run"),
            ("runbook", "steps", 9, "run"),  # not written: the nearest around it
            ("on_failure", "runbook"),
            ("on_failure", "runbook", "steps", 0, "run"),
            ("indicators", "latency", "query"),
            ("triggers", "SlowResponse", "for"),
            ("releases",),
        )
    }
    assert found == {
        "rollbackd.yaml:10:21",
        "runbooks/quick.yaml:5:20",
        "runbooks/quick.yaml:4:1",
        "rollbackd.yaml:13:27",
        "runbooks/stop.yaml:5:20",
        "rollbackd.yaml:4:20",
        "rollbackd.yaml:7:77",
        "rollbackd.yaml:12:3",
    }


TOKENS = "auth: {ingest: {token_file: x.token}}\nservices: {a: {}}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.token", TOKENS),
        ("x.ca", BASE.split("\n", 1)[1] + "prometheus: {url: 'http://127.0.0.1:9090', ca_file: x.ca}\nservices: {a: {}}\n"),
        ("x.yaml", "include: [x.yaml]\n"),
        ("runbooks/x.yaml", "services: {a: {}}\n"),
    ],
)
def test_a_file_that_anybody_may_change_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    content = {"x.yaml": "services: {a: {}}\n", "runbooks/x.yaml": QUICK.replace("name: quick", "name: x")}.get(name, "secret")
    path = write(tmp_path, text if "ca_file" in text else BASE + text, files={name: content})
    load(path)
    (tmp_path / name).chmod(0o602)
    with pytest.raises(InvalidConfigError) as refused:
        load(path)
    [problem] = refused.value.problems
    assert problem.message.endswith("anybody on this machine may change it: chmod o-w it")
    assert "secret" not in problem.message


def test_a_secret_that_anybody_may_read_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + TOKENS, files={"x.token": "secret"})
    assert load(path).problems == ()
    (tmp_path / "x.token").chmod(0o644)
    [problem] = load(path).problems
    assert problem.message == f"{tmp_path}/x.token: anybody on this machine may read it: chmod o-r it"
    assert (problem.line, problem.col) == (10, 29)


def test_a_config_of_another_user_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, BASE + "services: {a: {}}\n")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    [problem] = load(path).problems
    assert "who may change it, and is neither root nor who runs this" in problem.message


def test_sixty_services_stand_in_one_short_file(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config" / "examples" / "sixty-services"
    shutil.copytree(shipped, tmp_path / "sixty")
    for name in ("ingest.token", "oncall.token"):
        (tmp_path / "sixty" / name).write_text("x" * 32)
        (tmp_path / "sixty" / name).chmod(0o600)
    path = tmp_path / "sixty" / "rollbackd.yaml"
    assert len(path.read_text().splitlines()) < 150

    loaded = load(path)

    assert [str(problem) for problem in loaded.problems] == []
    services = loaded.settings.services
    assert len(services) == 60
    assert {mode: [policy.mode for policy in services.values()].count(mode) for mode in Mode} == {
        Mode.OBSERVE: 2,
        Mode.PROPOSE: 55,
        Mode.AUTO: 3,
    }
    assert services["shop-report"].trigger("SlowResponse").breach == Condition(">", 5000.0)
    assert services["shop-cart"].trigger("SlowResponse").breach == Condition(">", 1000.0)
    assert {policy.runbook.name for policy in services.values() if policy.runbook is not None} == {"quick"}
    assert services["shop-gateway"].prometheus == "edge"
