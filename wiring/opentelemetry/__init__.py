"""OpenTelemetry: spans of tasks, documents and queries, and the metrics of connection pools.

Only its API is used. Where spans and figures go is the application's business: to the providers that it has set, or
nowhere. Nothing here is imported before it is asked for, except ``telemetry.py``, which does not need the package.
"""
