"""LightRAG's own Neo4j storage. Its module sets the level of the driver's log when it is imported; here it keeps it."""

import logging

_driver_log = logging.getLogger("neo4j")
_level = _driver_log.level

from lightrag.kg.neo4j_impl import Neo4JStorage  # noqa: E402

_driver_log.setLevel(_level)

__all__ = ["Neo4JStorage"]
