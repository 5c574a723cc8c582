"""``make demo`` and ``make demo-prefect``: real documents become a graph in a real Neo4j, and what it cost."""

from wiring.demo.run import run_demo

__all__ = ["run_demo"]
