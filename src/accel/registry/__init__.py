"""Images in registries: our own small client (OCI distribution-spec 1.1, Docker registry v2) over urllib3.

::

    RegistryStore            one repository as an ImageStore
     ├── manifests, referrers, blobs (read), uploads (write)
     └── client              one registry: requests authorised, tried again, errors typed
          ├── auth           basic, bearer tokens; credentials: docker's config.json and helpers
          └── transport      connections, TLS per host, redirects

Each name is loaded when it is first used: most of the time to start is loading urllib3, which nobody needs for layouts.

Threads, no async: blob traffic is what counts, and urllib3 moves it at a fifth of the CPU of async clients.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.registry.client import RegistryClient
    from accel.registry.credentials import (
        Anonymous,
        Chained,
        Credential,
        CredentialSource,
        DockerConfig,
        Given,
        standard_paths,
    )
    from accel.registry.errors import MissingBlobsError, TransientError
    from accel.registry.options import HostOptions, RegistryOptions, environment_proxies
    from accel.registry.store import RegistryStore

__all__ = [
    "Anonymous",
    "Chained",
    "Credential",
    "CredentialSource",
    "DockerConfig",
    "Given",
    "HostOptions",
    "MissingBlobsError",
    "RegistryClient",
    "RegistryOptions",
    "RegistryStore",
    "TransientError",
    "environment_proxies",
    "standard_paths",
]

_HOMES = {
    "Anonymous": "credentials",
    "Chained": "credentials",
    "Credential": "credentials",
    "CredentialSource": "credentials",
    "DockerConfig": "credentials",
    "Given": "credentials",
    "HostOptions": "options",
    "MissingBlobsError": "errors",
    "RegistryClient": "client",
    "RegistryOptions": "options",
    "RegistryStore": "store",
    "TransientError": "errors",
    "environment_proxies": "options",
    "standard_paths": "credentials",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"accel.registry.{_HOMES[name]}"), name)
