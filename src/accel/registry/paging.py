"""Listings in pages: ``Link: <…>; rel="next"`` (RFC 8288; distribution-spec «Listing tags», «Listing referrers»)."""

import re
from collections.abc import Iterator

from accel.errors import LimitError, RegistryError
from accel.registry.client import Repository
from accel.registry.response import Response
from accel.registry.urls import Origin, join

_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w*-]+(?:\s*=\s*(?:\"[^\"]*\"|[^\s\",;]+))?)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*\"?(?:[^\",;]*\s)?next(?=[\s\",;]|$)", re.IGNORECASE)
_LISTING_DOCUMENTS = 4  # all pages together may be this many times as long as one document


def pages(repository: Repository, first: Response, raw: bytes, what: str) -> Iterator[tuple[Response, bytes]]:
    """``first`` and all pages that follow it. LimitError for a listing that does not end."""
    options = repository.options
    response, total, seen = first, len(raw), {first.url}
    yield response, raw
    while (location := next_page(response.header_values("Link"))) is not None:
        url = join(response.url, location)
        if Origin.of(url) != repository.client.origin:
            raise RegistryError(f"{response.what}: the next page is on another host, {Origin.of(url)}")
        if url in seen or len(seen) >= options.max_pages:
            raise LimitError(f"{response.what}: the pages do not end", limit=options.max_pages)
        seen.add(url)
        response, raw = repository.document(url, what=what)
        total += len(raw)
        if total > _LISTING_DOCUMENTS * options.max_document_bytes:
            raise LimitError(
                f"{response.what}: the pages do not end",
                limit=_LISTING_DOCUMENTS * options.max_document_bytes,
            )
        yield response, raw


def next_page(links: list[str]) -> str | None:
    """The target of the first link with the relation ``next``."""
    for value in links:
        for match in _LINK.finditer(value[:16384]):
            if _NEXT.search(match[2]):
                return match[1]
    return None
