"""What goes wrong with the servers of a run, in the middle of a document, once or in a long run several times."""

from __future__ import annotations

import time

from tests.support.fault_runs import FaultRun


def kill_neo4j(run: FaultRun) -> None:
    for done in run.moments(3):
        run.until_mid_document(done)
        run.own_neo4j.own.kill()
        time.sleep(3)
        run.own_neo4j.start_again()


def restart_the_broker(run: FaultRun) -> None:
    for done in run.moments(3):
        run.until_mid_document(done)
        run.broker.restart()
