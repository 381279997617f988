"""Every name that leaves the process: metrics, labels, span attributes, tables, environment variables.

One place, so that a dashboard, a rule and an exporter cannot disagree, and a rename is one change.
"""

from __future__ import annotations

__all__ = ["Attribute", "Instrument", "InstrumentationScope", "Label", "Metric", "Schema"]


class Metric:
    """Prometheus metric names (base units, unit last, counters end in ``_total``)."""

    STEP_DURATION_SECONDS = "cxgauge_step_duration_seconds"
    STEP_TARGET_SECONDS = "cxgauge_step_target_seconds"
    OBJECTIVE_RATIO = "cxgauge_objective_ratio"
    OBSERVATIONS_TOTAL = "cxgauge_observations_total"
    TIMELY_OBSERVATIONS_TOTAL = "cxgauge_timely_observations_total"
    UNCOUNTED_OBSERVATIONS_TOTAL = "cxgauge_uncounted_observations_total"
    LAST_OBSERVATION_SECONDS = "cxgauge_last_observation_timestamp_seconds"
    CHECKS_TOTAL = "cxgauge_checks_total"
    GOOD_ANSWER_RATIO = "cxgauge_good_answer_ratio"
    BASELINE_DURATION_SECONDS = "cxgauge_baseline_duration_seconds"
    DEVIATION_EFFECT_RATIO = "cxgauge_deviation_effect_ratio"
    DEVIATION_EFFECT_LOW_RATIO = "cxgauge_deviation_effect_low_ratio"
    DEVIATION_EFFECT_HIGH_RATIO = "cxgauge_deviation_effect_high_ratio"
    ALERT_STATE = "cxgauge_alert_state"
    DROPPED_TOTAL = "cxgauge_dropped_observations_total"
    RECEIVED_TOTAL = "cxgauge_received_observations_total"
    RECEIVER_REPLIES_TOTAL = "cxgauge_receiver_replies_total"
    DIMENSION_OTHER_TOTAL = "cxgauge_dimension_values_other_total"
    CLOCK_AHEAD_TOTAL = "cxgauge_clock_ahead_observations_total"
    ACROSS_UNKNOWN_TOTAL = "cxgauge_across_unknown_total"
    ACROSS_WAITING_SIDES = "cxgauge_across_waiting_sides"
    WRITTEN_TOTAL = "cxgauge_written_observations_total"
    WRITER_FAILURES_TOTAL = "cxgauge_writer_failures_total"
    WRITER_LAG_SECONDS = "cxgauge_writer_lag_seconds"
    EVALUATION_LAG_SECONDS = "cxgauge_evaluation_lag_seconds"
    EVALUATION_DURATION_SECONDS = "cxgauge_evaluation_duration_seconds"
    REPORT_TROUBLES = "cxgauge_report_troubles"
    SPOOL_BYTES = "cxgauge_spool_bytes"
    SPOOL_LIMIT_BYTES = "cxgauge_spool_limit_bytes"
    MESSAGES_TOTAL = "cxgauge_messages_total"
    PUSH_FAILURES_TOTAL = "cxgauge_push_failures_total"
    PUSH_LAG_SECONDS = "cxgauge_push_lag_seconds"
    HEALTH_READABLE = "cxgauge_health_readable"
    BUILD_INFO = "cxgauge_build_info"


class Label:
    """Prometheus label names."""

    FLOW = "flow"
    STEP = "step"
    VERDICT = "verdict"
    CHECK = "check"
    RESULT = "result"
    REASON = "reason"
    STATUS = "status"
    DIMENSION = "dimension"
    KIND = "kind"
    SEVERITY = "severity"
    OWNER = "owner"
    STATE = "state"
    OBJECTIVE = "objective"
    NOTIFIER = "notifier"
    OUTCOME = "outcome"
    VERSION = "version"
    PYTHON = "python"


class Attribute:
    """OpenTelemetry span attribute and baggage names."""

    FLOW_NAME = "cxgauge.flow.name"
    STEP_NAME = "cxgauge.step.name"
    FLOW_INSTANCE = "cxgauge.flow.instance"
    CUSTOMER = "cxgauge.customer"  # an id, made a token where it is received
    CUSTOMER_TOKEN = "cxgauge.customer.token"  # noqa: S105 - 32 hexadecimal digits, taken as they are
    VERDICT = "cxgauge.verdict"
    ANSWER = "cxgauge.answer"  # JSON, judged where it is received, then dropped
    TOKEN_PREFIX = "cxgauge.token."  # noqa: S105 - keyed token of a value, for checks across steps
    CHECK_PREFIX = "cxgauge.check."
    DIMENSION_PREFIX = "cxgauge.dimension."


class InstrumentationScope:
    """OpenTelemetry instrumentation scopes; what comes from ``RECORDER`` is in a spool already, so do not count it."""

    RECORDER = "cxgauge.recorder"
    EXPOSITION = "cxgauge.exposition"


class Instrument:
    """OpenTelemetry instruments; Prometheus adds the unit: ``cxgauge_step_duration_seconds``."""

    STEP_DURATION = "cxgauge.step.duration"


class Schema:
    """The database schema and its tables."""

    NAME = "cxgauge"
    SERIES = "series"
    CHECKS = "checks"
    OBSERVATIONS = "observations"
    WINDOW_ROLLUPS = "window_rollups"
    HOUR_ROLLUPS = "hour_rollups"
    WINDOW_DIGESTS = "window_digests"
    DIGEST_HOURS = "digest_hours"
    DIGEST_LATE = "digest_late"
    INSTANCE_ROLLUPS = "instance_rollups"
    TRANSITION_ROLLUPS = "transition_rollups"
    TRANSITION_HOURS = "transition_hours"
    INSTANCE_SLICES = "instance_slices"
    TRANSITION_SLICES = "transition_slices"
    COUNTED_SLICES = "counted_slices"
    QUALITY_ROLLUPS = "quality_rollups"
    REPORT_SCHEDULES = "report_schedules"
    REPORT_RUNS = "report_runs"
    REPORT_FILES = "report_files"
    REPORT_DELIVERIES = "report_deliveries"
    RESUME_POINTS = "resume_points"
    BASELINES = "baselines"
    BASELINE_BANDS = "baseline_bands"
    DEVIATIONS = "deviations"
    ALERTS = "alerts"
    ALERT_TRANSITIONS = "alert_transitions"
    IMPROVEMENTS = "improvements"
    IMPROVEMENT_TRAIL = "improvement_trail"
    EVENTS = "events"
    SILENCES = "silences"
    DELIVERIES = "deliveries"
    NOTIFIER_CALLS = "notifier_calls"
    ALERTMANAGER_POSTS = "alertmanager_posts"
    DETECTOR_STATE = "detector_state"
    EVALUATION_PROGRESS = "evaluation_progress"
    ACCOUNTS = "accounts"
    SESSIONS = "sessions"
    SERVICE_TOKENS = "service_tokens"
    AUDIT = "audit"
    MIGRATIONS = "schema_migrations"
