"""Requests to a registry, as a proxy in front of it tells of them."""

import posixpath
from urllib.parse import unquote

from starlette.exceptions import HTTPException

_API = "/v2/"  # distribution-spec «Endpoints»
_MANIFESTS = "/manifests/"


def manifest_of(uri: str) -> tuple[str, str] | None:
    """Repository, and tag or digest, of the manifest that the registry sees in a request's URI; None: it sees none.

    Registries decode escapes once and then drop what paths can do without, so ``/v2/a/%6Danifests/v1`` and
    ``//v2/a/./manifests/v1`` are the same manifest; proxies hand on what the client wrote. A ``#`` is refused: nginx
    may hand on what is before it, others all, and nobody means that.
    """
    if "#" in uri:
        raise HTTPException(400, "a path has no #")
    path = posixpath.normpath("/" + unquote(uri.partition("?")[0]))
    repository, found, selector = path.partition(_API)[2].rpartition(_MANIFESTS)
    if not found or "/" in selector:
        return None
    return repository, selector
