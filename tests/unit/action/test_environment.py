"""What a command's environment has, and what it has not."""

from dataclasses import replace

import pytest

from rollbackd.action.environment import INHERITED, MARK, Environments
from rollbackd.errors import MisconfiguredError
from rollbackd.model.policy import SecretRef
from rollbackd.model.runbook import CredentialRef
from tests.fakes.policies import service

DAEMON = {name: f"daemon's {name}" for name in INHERITED} | {
    "ROLLBACKD_TOKEN_FILE": "/token",
    "CREDENTIALS_DIRECTORY": "/run/credentials",
    "NOTIFY_SOCKET": "/run/notify",
    "LD_PRELOAD": "evil.so",
    "AWS_SECRET_ACCESS_KEY": "daemon's",
}
POLICY = replace(service(), credentials={"FLY_API_TOKEN": SecretRef(file="/fly.token"), "DB": SecretRef(file="/db")})


def read_secret(path: str) -> str:
    return f"secret of {path}"


def test_a_step_gets_the_allow_list_and_what_it_names() -> None:
    environment = Environments(DAEMON, read_secret).of_step(
        POLICY, {"TOKEN": CredentialRef("FLY_API_TOKEN"), "TO": "v1", "LANG": "C"}, mark="i-0-1"
    )
    assert environment.variables == {name: f"daemon's {name}" for name in INHERITED} | {
        "TOKEN": "secret of /fly.token",
        "TO": "v1",
        "LANG": "C",
        MARK: "i-0-1",
    }
    assert environment.secrets == ("secret of /fly.token",)
    assert "secret" not in repr(environment)


def test_a_question_gets_all_credentials_of_its_service() -> None:
    environment = Environments({}, read_secret).of_question(POLICY, {"DB": "mine", "PW": CredentialRef("DB")}, mark="q")
    assert environment.variables == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "FLY_API_TOKEN": "secret of /fly.token",
        "DB": "mine",
        "PW": "secret of /db",
        MARK: "q",
    }


def test_anothers_credential_is_an_error() -> None:
    with pytest.raises(MisconfiguredError, match=r"services\.api\.credentials: AWS is not a credential of api"):
        Environments(DAEMON, read_secret).of_step(POLICY, {"X": CredentialRef("AWS")}, mark="i-0-1")


def test_a_secret_is_read_each_time() -> None:
    secrets = iter(["old", "new"])
    environments = Environments({}, lambda _: next(secrets))
    wanted = {"TOKEN": CredentialRef("DB")}
    assert [environments.of_step(POLICY, wanted, mark="m").variables["TOKEN"] for _ in range(2)] == ["old", "new"]


def test_nobody_can_take_the_mark_away() -> None:
    assert Environments({MARK: "outer"}, read_secret).of_step(POLICY, {MARK: "mine"}, mark="i-0-1").variables[MARK] == "i-0-1"
