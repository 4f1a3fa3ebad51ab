"""The named reasons for which a line, a fact or a decision is refused.

A refusal is an expected answer, so it is a value and never an exception. The names are a contract: they
stand in the logs, in SQL and on the command line, and the order of the checks that give them is fixed.
"""

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Reason", "Refusal"]


class Reason(StrEnum):
    """Each reason reads as the rule that was broken."""

    # The bytes of a line.
    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NESTED_TOO_DEEP = "nested_too_deep"
    MEMBER_DUPLICATED = "member_duplicated"
    LONE_SURROGATE = "lone_surrogate"
    NUMBER_NOT_INTEGER = "number_not_integer"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    NOT_CANONICAL = "not_canonical"
    # The envelope and the shape of the event within it.
    NOT_CLOUDEVENT = "not_cloudevent"
    ENVELOPE_DISAGREES = "envelope_disagrees"
    TYPE_UNKNOWN = "type_unknown"
    TYPE_NOT_REPORTABLE = "type_not_reportable"
    VERSION_UNKNOWN = "version_unknown"
    MEMBER_MISSING = "member_missing"
    MEMBER_UNKNOWN = "member_unknown"
    MEMBER_MALFORMED = "member_malformed"
    TIME_MALFORMED = "time_malformed"
    ID_MISMATCH = "id_mismatch"
    # Intake: once, by a known stream, at a believable time.
    SOURCE_RESERVED = "source_reserved"
    KEY_CONFLICT = "key_conflict"
    GENESIS_MISSING = "genesis_missing"
    GENESIS_EXISTS = "genesis_exists"
    PARAMETERS_INVALID = "parameters_invalid"
    STREAM_EXISTS = "stream_exists"
    STREAM_UNREGISTERED = "stream_unregistered"
    MARK_GOES_BACK = "mark_goes_back"
    OCCURRED_TOO_FAR_AHEAD = "occurred_too_far_ahead"
    FACT_MISROUTED = "fact_misrouted"
    # Decisions: what the rules say about a well-formed fact.
    ASSET_UNKNOWN = "asset_unknown"
    AMOUNT_IS_ZERO = "amount_is_zero"
    AMOUNT_ABOVE_CAP = "amount_above_cap"
    PARAMETERS_DIFFER = "parameters_differ"
    JOB_EXISTS = "job_exists"
    JOB_UNKNOWN = "job_unknown"
    JOB_CLOSED = "job_closed"
    ATTEMPT_OUT_OF_ORDER = "attempt_out_of_order"
    NODES_DIFFER = "nodes_differ"
    PRICE_BELOW_MINIMUM = "price_below_minimum"
    FUNDS_INSUFFICIENT = "funds_insufficient"
    NODE_NOT_DISPATCHED = "node_not_dispatched"
    USAGE_EXISTS = "usage_exists"
    QUORUM_EXISTS = "quorum_exists"
    QUORUM_NOT_REACHED = "quorum_not_reached"
    RESULT_EXISTS = "result_exists"
    RESULTS_DIFFER = "results_differ"
    CHALLENGE_EXISTS = "challenge_exists"
    DUTY_EXISTS = "duty_exists"
    DUTY_NOT_ASSIGNED = "duty_not_assigned"
    ATTESTATION_EXISTS = "attestation_exists"
    SPEND_NOT_AUTHORIZED = "spend_not_authorized"
    SPEND_ABOVE_MAXIMUM = "spend_above_maximum"
    # Orders, and rulings of the foundation.
    CLUSTER_DIFFERS = "cluster_differs"
    SIGNATURE_WRONG = "signature_wrong"
    ORDER_EXPIRED = "order_expired"
    ORDER_EXPIRES_TOO_LATE = "order_expires_too_late"
    NONCE_USED = "nonce_used"
    OWNER_DIFFERS = "owner_differs"
    APPROVALS_MISSING = "approvals_missing"
    # Participants, stakes, slashes.
    EFFECT_MALFORMED = "effect_malformed"
    PARTICIPANT_EXISTS = "participant_exists"
    PARTICIPANT_UNKNOWN = "participant_unknown"
    PARTICIPANT_SUSPENDED = "participant_suspended"
    OWNER_MISSING = "owner_missing"
    HARDWARE_BELOW_MINIMUM = "hardware_below_minimum"
    STAKE_INSUFFICIENT = "stake_insufficient"
    TICKET_UNKNOWN = "ticket_unknown"
    CASE_EXISTS = "case_exists"
    CASE_UNKNOWN = "case_unknown"
    CASE_CLOSED = "case_closed"
    CASE_NOT_DISPUTABLE = "case_not_disputable"
    CAUSE_NOT_SLASHED = "cause_not_slashed"
    ACCUSER_IS_ACCUSED = "accuser_is_accused"
    BALANCE_INSUFFICIENT = "balance_insufficient"


class Refusal(NamedTuple):
    """A reason, and which thing it concerns: path, expected, found."""

    reason: Reason
    detail: str
