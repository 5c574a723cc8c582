"""What exists in a process, and how long it lives: settings, drivers, the worker loop."""

from app_container.container import Container, create_container
from app_container.errors import AppContainerError, ConfigurationError

__all__ = ["AppContainerError", "ConfigurationError", "Container", "create_container"]
