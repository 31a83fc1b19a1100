"""Reason codes: the same code is the log field, the metric label, the report line, the console badge and the API value."""

from enum import StrEnum


class Reason(StrEnum):
    # A measurement (why it is what it is)
    BREACH = "breach"
    CLEAR = "clear"
    DEAD_BAND = "dead_band"
    NO_SERIES = "no_series"
    NOT_A_NUMBER = "not_a_number"
    SEVERAL_SERIES = "several_series"
    WARNINGS = "warnings"
    QUERY_FAILED = "query_failed"
    STALE_SAMPLES = "stale_samples"
    THIN_SAMPLES = "thin_samples"
    CLOCK_SKEW = "clock_skew"
    LOW_TRAFFIC = "low_traffic"
    COUNTER_BIRTH = "counter_birth"
    NO_BASELINE = "no_baseline"
    NOT_SCRAPED_SINCE_DELIVERY = "not_scraped_since_delivery"

    # The trigger as a whole
    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not_confirmed"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"

    # Blame
    TO_BLAME = "to_blame"
    BLAME_OFF = "blame_off"
    INCONCLUSIVE = "inconclusive"
    NO_RECENT_RELEASE = "no_recent_release"
    BREACH_PREDATES_RELEASE = "breach_predates_release"
    OLD_VERSION_AS_BAD = "old_version_as_bad"
    LOCALISED = "localised"
    RECURRENT = "recurrent"
    DEPENDENCY_FIRST = "dependency_first"

    # Guards
    PAUSED = "paused"
    NO_SERVICE = "no_service"
    AMBIGUOUS_SERVICE = "ambiguous_service"
    STALE_ALERT = "stale_alert"
    STEP_RUNNING = "step_running"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    ROLLBACK_OF_ROLLBACK = "rollback_of_rollback"
    FREEZE = "freeze"
    FLEET_BRAKE = "fleet_brake"
    RELEASE_IN_PROGRESS = "release_in_progress"
    SETTLING = "settling"
    NO_ROOM = "no_room"

    # Target and running version
    NO_SAFE_TARGET = "no_safe_target"
    MIGRATION_BARRIER = "migration_barrier"
    CONFIG_ONLY_RELEASE = "config_only_release"
    RUNNING_VERSION_CHANGED = "running_version_changed"
    RUNNING_VERSION_UNKNOWN = "running_version_unknown"
    NOT_APPLICABLE = "not_applicable"
    PASSED = "passed"

    # What happened to an incident afterwards
    MANUAL = "manual"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ABORTED = "aborted"
    STEP_FAILED = "step_failed"
    STEP_UNCERTAIN = "step_uncertain"
    OUTDATED_PLAN = "outdated_plan"
    UNCONFIRMED = "unconfirmed"
    BAD_TARGET = "bad_target"
    GAVE_UP = "gave_up"
