"""The figures of a worker's processes, added up and handed on.

Each process writes what it counts into a file once a second (``publisher.py``); the worker's main process adds them up
and keeps what dead ones counted (``worker.py``), and hands the sums to Prometheus (``prometheus.py``).
"""
