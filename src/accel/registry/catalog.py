"""The repositories of a registry (distribution's ``_catalog``; not in the spec, and many registries refuse it)."""

from collections.abc import Iterator

from accel.errors import LimitError, NotFoundError, RegistryError
from accel.registry.challenge import Scope
from accel.registry.client import RegistryClient
from accel.registry.errors import parse_json
from accel.registry.paging import next_page
from accel.registry.urls import Origin, join

_SCOPE = Scope("registry", "catalog", frozenset({"*"}))
_PAGE = 1000


def catalog(client: RegistryClient) -> Iterator[str]:
    """Names of repositories, page by page.

    Raises RegistryError where the registry gives no catalog, LimitError for one that does not end.
    """
    url, n_pages = f"/v2/_catalog?n={_PAGE}", 0
    while True:
        what = f"{client.host}: list of repositories"
        try:
            with client.send("GET", url, what=what, ok=(200,), scopes=(_SCOPE,)) as response:
                value = parse_json(response.document(client.options.max_document_bytes), what)
                links, at = response.header_values("Link"), response.url
        except NotFoundError as error:
            raise RegistryError(str(error), status=404) from error
        names = value.get("repositories") if isinstance(value, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RegistryError(f"{what}: the answer is no list of repositories")
        yield from names
        n_pages += 1
        location = next_page(links)
        if location is None:
            return
        if n_pages >= client.options.max_pages:
            raise LimitError(f"{what}: the pages do not end", limit=client.options.max_pages)
        url = join(at, location)
        if Origin.of(url) != client.origin:
            raise RegistryError(f"{what}: the next page is on another host")
