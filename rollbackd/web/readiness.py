"""Whether rollbacks would work, and how the daemon itself is, as the JSON of the API. Pure."""

from typing import TYPE_CHECKING

from rollbackd.clock import rfc3339
from rollbackd.model.readiness import Readiness
from rollbackd.web.shapes import DiagnosisShape, ReadinessCheckShape, ReadinessShape, ReadinessSummary

if TYPE_CHECKING:
    from rollbackd.flow.doctor import Diagnosis  # at run time both would bring the whole daemon into a room of pure functions
    from rollbackd.web.deps import DaemonStatus


def summary(found: Readiness) -> ReadinessSummary:
    """In short: what a person reads first."""
    return {
        "service": found.service,
        "verdict": found.verdict,
        "at": rfc3339(found.at),
        "problems": [f"{check.name}: {check.detail}" for check in found.problems],
    }


def in_full(found: Readiness) -> ReadinessShape:
    checks: list[ReadinessCheckShape] = [{"name": check.name, "verdict": check.verdict, "detail": check.detail} for check in found.checks]
    return {**summary(found), "checks": checks}


def diagnosis(daemon: "DaemonStatus", found: "Diagnosis") -> DiagnosisShape:
    return {
        "version": daemon.version,
        "started_at": rfc3339(daemon.started_at),
        "ready": daemon.ready,
        "why_not": daemon.why_not,
        "store": {"problem": found.store_problem},
        "config": {
            "file": str(found.config),
            "read_at": rfc3339(found.config_read_at),
            "changed": [str(file) for file in found.config_changed],
        },
        "prometheus": [
            {
                "name": server.name,
                "problem": server.problem,
                "clock_offset": None if server.clock_offset is None else server.clock_offset.total_seconds(),
            }
            for server in found.servers
        ],
        "services": [in_full(one) for one in found.services],
    }
