"""What the ledger may raise.

LedgerInvariantBroken   a bug or a forgery: the process stops and the event is kept
ParametersInvalid       a parameter set that breaks a rule; names key, value and rule
"""

__all__ = ["LedgerInvariantBroken", "ParametersInvalid"]


class LedgerInvariantBroken(AssertionError):
    """An entry or a balance breaks an invariant; the message says which, by how much, in which unit."""


class ParametersInvalid(ValueError):
    """A parameter set is refused; one line per fault."""
