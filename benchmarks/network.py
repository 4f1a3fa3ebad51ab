"""Stream (n): a made-up network's whole life, with its owners' signed orders, proofs, slashes and rewards.

Only our path can run it. What it must end with is known from what was planted (`app.network`): every account of
consumers, suppliers, stakes, slashes and burns.
"""

import json
from collections import defaultdict

from app.network.actors import parameters_for
from app.network.story import simulate
from benchmarks.stream import write_lines
from benchmarks.task import Task
from ledger.parameters import parameters_json

__all__ = ["prepare_network"]


def prepare_network(task: Task, seed: int) -> int:
    """Write the network's facts, parameters and planted balances; return how many jobs were settled."""
    parameters = parameters_for(seed)
    network = simulate(parameters, task.settlements, seed)
    write_lines(network.facts, task.stream)
    task.parameters.write_text(parameters_json(parameters), encoding="utf-8")
    totals: defaultdict[str, int] = defaultdict(int)
    for (account, _), amount in network.truth.balances.items():
        totals[account] += amount
    task.oracle.write_text(json.dumps({account: str(amount) for account, amount in totals.items()}))
    return network.truth.jobs.settled
