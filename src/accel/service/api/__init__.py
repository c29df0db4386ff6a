"""The HTTP API, its description, and the page: ``create_app``."""

from accel.service.api.app import create_app, create_probes
from accel.service.api.state import ServiceState

__all__ = ["ServiceState", "create_app", "create_probes"]
