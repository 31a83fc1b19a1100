from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rollbackd.settings import only_at_start
from rollbackd.settings.load import Loaded, load
from rollbackd.settings.problems import InvalidConfigError
from tests.unit.settings.builders import BASE, write

SERVICES = "services: {a: {mode: observe}}\n"
TLS = "server: {tls: {cert_file: a.pem, key_file: b.pem}}\n"
WITH_CLIENTS = "server: {tls: {cert_file: a.pem, key_file: b.pem, client_ca_file: a.pem}}\n"


def loaded(directory: Path, text: str) -> Loaded:
    for name in ("a.pem", "b.pem"):
        (directory / name).write_text("anything")
        (directory / name).chmod(0o600)
    return load(write(directory, BASE + SERVICES + text))


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("", "server: {listen: '127.0.0.1:1'}\n", "server.listen"),
        ("server: {listen: '127.0.0.1:1'}\n", "", "server.listen"),
        ("", TLS, "server.tls"),
        (TLS, "", "server.tls"),
        (TLS, WITH_CLIENTS, "server.tls.client_ca_file"),
        (WITH_CLIENTS, TLS, "server.tls.client_ca_file"),
        ("", "store: {url: 'sqlite:////elsewhere.db'}\n", "store.url"),
        ("", "sentry: {dsn_file: a.pem}\n", "sentry"),
    ],
)
def test_what_counts_only_from_a_start_on_is_named(tmp_path: Path, before: str, after: str, named: str) -> None:
    in_use = loaded(tmp_path, before).settings
    with pytest.raises(InvalidConfigError, match=f"'{named}' counts only from a start on"):
        only_at_start.check(in_use, loaded(tmp_path, after))


@pytest.mark.parametrize("text", ["", TLS, WITH_CLIENTS, "sentry: {dsn_file: a.pem}\n"])
def test_the_same_again_is_taken(tmp_path: Path, text: str) -> None:
    only_at_start.check(loaded(tmp_path, text).settings, loaded(tmp_path, text))


def test_everything_else_is_taken(tmp_path: Path) -> None:
    in_use = loaded(tmp_path, "").settings
    only_at_start.check(in_use, loaded(tmp_path, "server: {external_url: 'https://rollbackd.example'}\ncontacts: [{role: a, name: b}]\n"))


def test_all_of_it_at_once_where_it_stands(tmp_path: Path) -> None:
    in_use = loaded(tmp_path, "").settings
    with pytest.raises(InvalidConfigError) as refused:
        only_at_start.check(in_use, loaded(tmp_path, "store: {url: 'sqlite:////elsewhere.db'}\nserver: {listen: '127.0.0.1:1'}\n"))
    first = BASE.count("\n") + SERVICES.count("\n") + 1
    assert [(one.line, one.message.split(" ")[0]) for one in refused.value.problems] == [
        (first, "'store.url'"),
        (first + 1, "'server.listen'"),
    ]


def test_the_mapping_of_what_is_compared_has_every_setting_that_is_read_once() -> None:
    """Written down so that whoever adds one thinks of it."""
    from rollbackd.settings.effective import ServerSettings, Settings

    fields: Mapping[str, Any] = Settings.__dataclass_fields__
    assert set(fields) == {
        *("path", "server", "store_url", "sentry"),  # from a start on
        *(
            "ingest_token_file",
            "people",
            "prometheus",
            "services",
            "contacts",
            "channels",
            "alertmanager",
            "heartbeat",
            "report_language",
        ),  # a reload takes them over
        *("retention", "shutdown_grace", "runbooks"),
    }
    assert set(ServerSettings.__dataclass_fields__) == {"host", "port", "external_url", "tls"}
