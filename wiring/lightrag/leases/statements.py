"""The statements that leases are made of, see ``store``. Times are milliseconds of the server's clock."""

from __future__ import annotations

MAKE_LEASE = """
MERGE (lease:LightRAGLease {workspace: $workspace})
ON CREATE SET lease.token = 0, lease.tickets = 0, lease.interrupted = '{}'
"""

_LOCK_LEASE = (
    MAKE_LEASE
    + """
SET lease.lock = $holder
WITH lease, datetime.realtime().epochMillis AS now
"""
)

TAKE = (
    _LOCK_LEASE
    + """
WHERE lease.holder IS NULL OR lease.holder IN [$holder, $dead] OR lease.expires <= now
OPTIONAL MATCH (me:LightRAGWaiter {holder: $holder})
OPTIONAL MATCH (first:LightRAGWaiter {workspace: $workspace})
WHERE first.alone AND first.until > now AND first.holder <> $holder AND NOT (
    coalesce(me.alone, false) AND me.ticket < first.ticket)
WITH lease, now, me, count(first) AS before_me
WHERE before_me = 0
DETACH DELETE me
WITH lease, now, lease.holder AS before, lease.host AS host_before
SET lease.token = lease.token + 1, lease.holder = $holder, lease.host = $host, lease.machine = $machine,
    lease.pid = $pid, lease.since = now, lease.expires = now + $term, lease.drained = 0
WITH lease, before, host_before
UNWIND $fences AS key
MERGE (fence:LightRAGFence {key: key}) SET fence.token = lease.token
RETURN DISTINCT lease.token AS token, before, host_before, lease.interrupted AS interrupted
"""
)

WAIT = (
    _LOCK_LEASE
    + """
MERGE (me:LightRAGWaiter {holder: $holder})
ON CREATE SET lease.tickets = lease.tickets + 1, me.ticket = lease.tickets, me.workspace = $workspace,
    me.host = $host, me.pid = $pid
SET me.alone = $alone, me.until = now + $kept
WITH lease, now
OPTIONAL MATCH (gone:LightRAGWaiter {workspace: $workspace}) WHERE gone.until <= now
DETACH DELETE gone
RETURN DISTINCT lease.holder AS holder, lease.machine AS machine, lease.pid AS pid, lease.interrupted AS interrupted
"""
)

_LOCK_OWN = """
MATCH (lease:LightRAGLease {workspace: $workspace}) SET lease.lock = $holder
WITH lease, datetime.realtime().epochMillis AS now WHERE lease.holder = $holder AND lease.token = $token
"""

RENEW = (
    _LOCK_OWN
    + """
SET lease.expires = now + $term, lease.drained = $drained, lease.interrupted = $interrupted
WITH lease, now
OPTIONAL MATCH (waiter:LightRAGWaiter {workspace: $workspace}) WHERE waiter.until > now
RETURN lease.token AS token, count(waiter) AS waiting, coalesce(max(waiter.ticket), 0) AS last,
       count(CASE WHEN waiter.alone THEN 1 END) AS alone
"""
)

GIVE_BACK = (
    _LOCK_OWN
    + """
OPTIONAL MATCH (waiter:LightRAGWaiter {workspace: $workspace})
WHERE waiter.until > now AND waiter.ticket > $seen AND NOT waiter.alone
WITH lease, max(waiter.ticket) AS last
FOREACH (_ IN CASE WHEN last IS NULL THEN [1] ELSE [] END |
    REMOVE lease.holder, lease.expires SET lease.drained = $drained, lease.interrupted = $interrupted)
RETURN last
"""
)

LEAVE = """
MATCH (lease:LightRAGLease {workspace: $workspace}) SET lease.lock = $holder
WITH lease
OPTIONAL MATCH (me:LightRAGWaiter {holder: $holder}) DETACH DELETE me
WITH lease WHERE lease.holder = $holder
REMOVE lease.holder, lease.expires
"""

RELEASE = """
MATCH (lease:LightRAGLease {workspace: $workspace}) SET lease.lock = 'operator', lease.token = lease.token + 1
WITH lease, lease.holder IS NOT NULL AS was_held, lease.host AS host, lease.pid AS pid
REMOVE lease.holder, lease.expires
FOREACH (_ IN CASE WHEN $files_moved THEN [1] ELSE [] END | REMOVE lease.files, lease.files_at)
WITH lease, was_held, host, pid
UNWIND $fences AS key
MERGE (fence:LightRAGFence {key: key}) SET fence.token = lease.token
RETURN DISTINCT was_held, host, pid
"""

LIST = """
MATCH (lease:LightRAGLease)
OPTIONAL MATCH (waiter:LightRAGWaiter {workspace: lease.workspace})
WHERE waiter.until > datetime.realtime().epochMillis
WITH lease, count(waiter) AS waiting, datetime.realtime().epochMillis AS now
RETURN lease.workspace AS workspace, lease.host AS host, lease.pid AS pid, lease.token AS token, waiting,
       lease.drained AS drained, (now - lease.since) / 1000.0 AS seconds, (lease.expires - now) / 1000.0 AS left,
       lease.holder IS NOT NULL AS is_held
ORDER BY workspace
"""
