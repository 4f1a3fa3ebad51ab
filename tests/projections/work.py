"""A projecting worker as a process: python -m tests.projections.work SERVERS DATABASE PREFIX LANES [once]."""

import faulthandler
import logging
import signal
import sys

from app.settings import read_settings
from app.stopping import heed_signals
from events.kafka import Brokers
from events.killpoints import arm
from projections.database import open_postgres
from projections.worker import run_worker

if __name__ == "__main__":
    servers, url, prefix, lanes, *rest = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    # What each thread does is told to whoever asks.
    faulthandler.register(signal.SIGUSR1)
    kill_at = read_settings().kill_at
    if kill_at:
        step, _, times = kill_at.partition(":")
        arm(step, int(times or 1))
    with heed_signals() as stopping:
        engine = open_postgres(url, writable=True)
        brokers = Brokers(tuple(servers.split(",")))
        run_worker(brokers, engine, prefix, int(lanes), lambda: stopping.asked, once=rest == ["once"])
