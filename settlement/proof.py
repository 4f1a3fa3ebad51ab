"""What a lane knows of whether an attempt was computed rightly, and what of it is evidence (R8, R10).

    a failed challenge                                             is evidence against its node
    an attestation "passed" of a node whose challenge failed,
    whichever of the two comes second                              is evidence against its validator

There is one case per validator and attempt, of however many nodes. A proof is made by the first fact that needs one, so
that a job without any costs nothing.
"""

from typing import Literal, NamedTuple

import msgspec

__all__ = ["FAILED_CHALLENGE", "FALSE_ATTESTATION", "Evidence", "Proof"]

# The causes that a lane's own facts show; `slash.bps` says what they cost.
FAILED_CHALLENGE = "failed_challenge"
FALSE_ATTESTATION = "false_attestation"


class Evidence(NamedTuple):
    """Who is accused of what; `verifiers` had attested the fault before, in the order of ids."""

    role: Literal["node", "validator"]
    accused: str
    cause: str
    verifiers: tuple[str, ...]


class Proof(msgspec.Struct):
    """One attempt: results, challenges (passed?) and attestations by node, `duties` and who answered by validator.

    `attestations[node][validator]` tells whether the validator attested that the node passed; `duties[validator]` is
    the epoch in which the duty counts.
    """

    nodes: tuple[str, ...]
    results: dict[str, str] = {}
    challenges: dict[str, bool] = {}
    attestations: dict[str, dict[str, bool]] = {}
    duties: dict[str, int] = {}
    answered: set[str] = set()
    accused: set[str] = set()

    def says_something(self) -> bool:
        """Tell whether any fact has been kept."""
        return bool(self.duties or self.results or self.challenges)

    def attested(self) -> tuple[str, ...]:
        """Return the nodes that some validator attested to have passed."""
        return tuple(node for node in self.nodes if any(self.attestations.get(node, {}).values()))

    def challenge(self, node: str, passed: bool) -> list[Evidence]:
        """Record a challenge's result; return what it is evidence of, the node first, then validators by id."""
        self.challenges[node] = passed
        if passed:
            return []
        found = [Evidence("node", node, FAILED_CHALLENGE, self._doubters(node))]
        for validator, vouched in sorted(self.attestations.get(node, {}).items()):
            if vouched:
                found += self._false_attestation(validator, node)
        return found

    def attest(self, validator: str, node: str, passed: bool) -> list[Evidence]:
        """Record an attestation; return what it is evidence of."""
        self.attestations.setdefault(node, {})[validator] = passed
        self.answered.add(validator)
        if passed and self.challenges.get(node) is False:
            return self._false_attestation(validator, node)
        return []

    def _false_attestation(self, validator: str, node: str) -> list[Evidence]:
        if validator in self.accused:
            return []
        self.accused.add(validator)
        return [Evidence("validator", validator, FALSE_ATTESTATION, self._doubters(node))]

    def _doubters(self, node: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, passed in self.attestations.get(node, {}).items() if not passed))
