"""State machines that count their steps, so that a run says how much it has tried."""

from typing import ClassVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

__all__ = ["Counted", "take_steps"]


class Counted(RuleBasedStateMachine):
    """Counts the steps of all its examples."""

    taken: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        # Invariants are looked at once before the first step.
        type(self).taken -= 1

    @invariant()
    def count(self) -> None:
        type(self).taken += 1


def take_steps(machine: type[Counted], examples: int, steps: int, at_least: int) -> None:
    """Run a machine, again where it took too few steps: their number is drawn. Raises: AssertionError."""
    machine.taken = 0
    for _ in range(3):
        if machine.taken < at_least:
            run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=steps))
    assert machine.taken >= at_least
