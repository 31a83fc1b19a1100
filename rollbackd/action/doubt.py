"""What a person is told who is asked because nobody knows: what was run, what was seen, and what to run to find out. Pure."""

import shlex
from contextlib import suppress

from rollbackd.action import placeholders
from rollbackd.errors import RollbackdError
from rollbackd.model.attempt import Attempt
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import HttpAsk, Probe, PromqlAsk, RunAsk


def whether_it_happened(attempt: Attempt, question: Probe | None, plan: Plan, policy: ServicePolicy) -> str:
    """About an attempt whose outcome is unknown and which may not be repeated; `question` is what could have told."""
    ran = f" ran `{shlex.join(attempt.argv)}`" if attempt.argv else f" sent {attempt.request}" if attempt.request else ""
    begun = f"nobody knows whether it happened: attempt {attempt.id}{ran} ({attempt.detail})"
    return f"{begun}; {how_to_find_out(question, plan, policy)}"


def how_to_find_out(question: Probe | None, plan: Plan, policy: ServicePolicy) -> str:
    if question is None:
        return "look at the service itself, for no probe asks about this"
    names = (plan.target_version, plan.target_artifact)
    wanted = question.equals or " or ".join(dict.fromkeys(name for name in names if name)) or "what should run"
    return f"to find out {_asked(question, policy)} and look for {wanted}"


def _asked(probe: Probe, policy: ServicePolicy) -> str:
    with suppress(RollbackdError):  # else as it is written
        probe = placeholders.fill_probe(probe, placeholders.values_of(policy))
    match probe.ask:
        case RunAsk(argv=argv):
            return f"run `{shlex.join(argv)}`"
        case HttpAsk(url=url):
            return f"get {url}"
        case PromqlAsk(query=query):
            return f"ask Prometheus for {query}"
