"""How often the processing of each document was cut, because its process died or lost its lease.

A document that was cut again and again is suspected to be what kills the processes. So it is processed where its own
task waits, alone, and its death takes nobody along. The counts are kept with the lease, so every worker knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wiring.lightrag.leases.lease import Lease

SUSPECT_AFTER = 2
"""How often a document is interrupted before it is suspected; a single interruption is more often bad luck."""


def suspects(interrupted: Mapping[str, int]) -> set[str]:
    """The documents that were interrupted ``SUSPECT_AFTER`` times or more."""
    return {key for key, times in interrupted.items() if times >= SUSPECT_AFTER}


def count_interruptions(lease: Lease, unfinished: Iterable[str]) -> bool:
    """Count that ``unfinished`` were found so when a run began, unless the lease was given back before.

    Returns:
        Whether there were any, so that the lease has to be renewed, which keeps the counts.
    """
    was_cut, lease.was_cut = lease.was_cut, False
    found = set(unfinished) if was_cut else set()
    for key in found:
        lease.interrupted[key] = lease.interrupted.get(key, 0) + 1
    return bool(found)
