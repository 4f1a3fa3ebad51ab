"""The state machines together take the steps that are promised; each holds itself to its own number."""

from tests.settlement import test_epoch_machine, test_hub_machine, test_job_machine, test_network_machine


def test_machines_take_ten_thousand_steps_together() -> None:
    machines = (test_epoch_machine, test_hub_machine, test_job_machine, test_network_machine)

    assert sum(machine.MIN_STEPS for machine in machines) >= 10_000
