from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbackd.errors import PermanentError
from rollbackd.model.condition import Condition
from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.policy import (
    ApiSource,
    BudgetPolicy,
    CommandSource,
    EmergencyPolicy,
    FleetBrakePolicy,
    FreezeWindow,
    Inconclusive,
    Indicator,
    Mode,
    Objective,
    Reduce,
    SecretRef,
    ServicePolicy,
    Trigger,
    WatchPolicy,
    WhileRolling,
)
from rollbackd.model.runbook import (
    CredentialRef,
    HttpAsk,
    Manual,
    OnFailure,
    Probe,
    PromqlAsk,
    Request,
    Run,
    RunAsk,
    Runbook,
    RunbookKind,
    Step,
    Undo,
    Verify,
    Wait,
)
from rollbackd.settings import snapshot

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
MAYBE = st.none() | TEXT
DURATION = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=3650))
NUMBER = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
COUNT = st.integers(min_value=0, max_value=2**31)
CONDITION = st.builds(Condition, st.sampled_from([">", ">=", "<", "<="]), NUMBER, st.booleans())
MATCHER = st.builds(Matcher, TEXT, st.sampled_from([MatchOperator.EQUAL, MatchOperator.NOT_EQUAL]), TEXT) | st.builds(
    Matcher, TEXT, st.sampled_from([MatchOperator.REGEX, MatchOperator.NOT_REGEX]), st.sampled_from(["a|b", "(?i)x.*", r"\d+"])
)


def tuples(item: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(item, max_size=2).map(tuple)


def maps(value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(TEXT, value, max_size=2)


ENVIRONMENT = maps(TEXT | st.builds(CredentialRef, TEXT))
ASK = (
    st.builds(RunAsk, argv=tuples(TEXT), env=ENVIRONMENT, jmespath=MAYBE)
    | st.builds(HttpAsk, url=TEXT, jmespath=MAYBE)
    | st.builds(PromqlAsk, query=TEXT, label=MAYBE)
)
PROBE = st.builds(
    Probe,
    ask=ASK,
    name=TEXT,
    timeout=DURATION,
    equals=MAYBE,
    status=tuples(COUNT),
    exit_code=st.none() | COUNT,
    satisfies=st.none() | CONDITION,
)
RUN = st.builds(Run, argv=tuples(TEXT), env=ENVIRONMENT)
REQUEST = st.builds(
    Request, method=TEXT, url=TEXT, json=MAYBE, headers=ENVIRONMENT, token=st.none() | st.builds(CredentialRef, TEXT), status=tuples(COUNT)
)
STEP = st.builds(
    Step,
    name=TEXT,
    action=RUN | REQUEST | st.builds(Wait, until=PROBE) | st.builds(Verify, checks=tuples(PROBE)) | st.builds(Manual, text=TEXT),
    timeout=DURATION,
    probe=st.none() | PROBE,
    idempotent=st.booleans(),
    retries=COUNT,
    interruptible=st.booleans(),
    on_failure=st.sampled_from(OnFailure),
    undo=st.none() | st.builds(Undo, action=RUN | REQUEST, timeout=DURATION, idempotent=st.booleans()),
    for_each=MAYBE,
    max_parallel=COUNT,
    stop_after_failures=COUNT,
    batch=st.none() | COUNT,
)
RUNBOOK = st.builds(Runbook, name=TEXT, kind=st.sampled_from(RunbookKind), budget=DURATION, steps=tuples(STEP))
INDICATOR = st.builds(
    Indicator,
    name=TEXT,
    samples=TEXT,
    window=DURATION,
    bad=MAYBE,
    total=MAYBE,
    bad_samples=MAYBE,
    query=MAYBE,
    count=MAYBE,
    reduce=st.none() | st.sampled_from(Reduce),
)
TRIGGER = st.builds(
    Trigger,
    name=TEXT,
    indicator=INDICATOR,
    breach=CONDITION,
    clear=CONDITION,
    hold_for=DURATION,
    alerts=tuples(TEXT),
    min_requests=COUNT,
    at_least=st.none() | NUMBER,
    severity=TEXT,
)
SOURCE = st.just(ApiSource()) | st.builds(
    CommandSource,
    argv=tuples(TEXT),
    items=TEXT,
    version=TEXT,
    artifact=MAYBE,
    started_at=TEXT,
    status=MAYBE,
    live_when=tuples(TEXT),
    failed_when=tuples(TEXT),
    live_at=MAYBE,
    env=ENVIRONMENT,
    timeout=DURATION,
)
POLICY = st.builds(
    ServicePolicy,
    name=TEXT,
    match=tuples(MATCHER),
    selector=tuples(MATCHER),
    triggers=tuples(TRIGGER),
    objectives=tuples(st.builds(Objective, name=TEXT, indicator=INDICATOR, target=CONDITION)),
    prometheus=TEXT,
    scrape_interval=DURATION,
    max_sample_age=DURATION,
    recheck_every=DURATION,
    mode=st.sampled_from(Mode),
    blame=st.booleans(),
    inconclusive=st.sampled_from(Inconclusive),
    while_rolling=st.sampled_from(WhileRolling),
    cooldown=DURATION,
    budget=st.builds(BudgetPolicy, service_per_day=COUNT, fleet_per_hour=COUNT),
    fleet_brake=st.builds(FleetBrakePolicy, services=COUNT, within=DURATION),
    freeze=tuples(st.builds(FreezeWindow, cron=TEXT, duration=DURATION, tz=TEXT)),
    watch=st.builds(WatchPolicy, duration=DURATION, interval=DURATION, stable_for=DURATION),
    version_label=MAYBE,
    spread=tuples(TEXT),
    depends_on=tuples(TEXT),
    vars=maps(TEXT | tuples(TEXT)),
    releases=SOURCE,
    running_version=st.none() | PROBE,
    credentials=maps(st.builds(SecretRef, file=TEXT)),
    runbook=st.none() | RUNBOOK,
    on_failure=st.none() | st.builds(EmergencyPolicy, runbook=RUNBOOK, auto=st.booleans()),
)


@settings(deadline=None)
@given(POLICY)
def test_what_is_read_back_is_what_was_pinned(policy: ServicePolicy) -> None:
    data = snapshot.dump(policy)
    again = snapshot.load(data)
    assert again == policy
    assert snapshot.dump(again) == data


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b'{"name": 1}'])
def test_what_is_no_snapshot_is_said_in_one_line(data: bytes) -> None:
    with pytest.raises(PermanentError, match="a pinned config cannot be read") as error:
        snapshot.load(data)
    assert "\n" not in str(error.value)
