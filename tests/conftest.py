"""What every test stands on: no property that fails by the clock, and on CI no real-server test that was skipped."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from rollbackd.telemetry import redaction
from tests.needs import NOT_HERE

pytest_plugins = ["tests.faults.page"]

settings.register_profile("without a clock", deadline=None)  # how fast a machine is, is no property of the code
settings.load_profile("without a clock")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the real servers are promised, a test that skips itself for want of anything that can be installed has failed."""
    report = yield
    promised = os.environ.get("REQUIRE_REAL_SERVERS") and NOT_HERE not in str(report.longrepr)
    if report.skipped and promised and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but REQUIRE_REAL_SERVERS is set: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that one test registers are taken out of no other's text."""
    monkeypatch.setattr(redaction, "_REDACTOR", redaction.Redactor())
