"""References: where an image is, as skopeo and crane users write it.

::

    [docker://]host[:port]/repository[:tag][@digest]     a registry; without a host: Docker Hub, library/ added
    oci:DIR[:TAG][@digest]                               an OCI layout directory
    oci-archive:FILE[:TAG][@digest]                      a tar of one
    docker-archive:FILE[:TAG]                            what ``docker save`` writes
"""

import re
from dataclasses import dataclass, replace

from accel.errors import FormatError, ReferenceSyntaxError, UnsupportedError
from accel.oci.digest import check_digest

MAX_TAG_CHARS = 128
_MAX_NAME_CHARS = 255  # host and repository together (distribution/reference)
_LOCAL = ("oci", "oci-archive", "docker-archive")
_ELSEWHERE = ("docker-daemon", "containers-storage")  # transports of skopeo that need a running engine

# distribution/reference, regexp.go
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?", re.ASCII)
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*", re.ASCII)
# image-spec «pre-defined annotation keys», org.opencontainers.image.ref.name; "_" between parts as containers/image.
_REF_NAME_PART = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--|__)[A-Za-z0-9]+)*"
_REF_NAME = re.compile(rf"{_REF_NAME_PART}(?:/{_REF_NAME_PART})*", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_ACCEPTED = (
    "accepted: [docker://]host[:port]/repository[:tag][@digest], oci:DIR[:TAG], oci-archive:FILE[:TAG], "
    "docker-archive:FILE[:TAG]"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is. ``transport`` is docker, oci, oci-archive or docker-archive.

    docker: ``host`` (with its port) and ``repository`` are set; ``tag`` is "" only beside a ``digest``.
    Others: ``path`` is set; ``tag`` may be "", which means the only image there.
    """

    transport: str
    host: str = ""
    repository: str = ""
    path: str = ""
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """From text as drawn above. Raises ReferenceSyntaxError saying what is wrong and what is accepted."""
        if not text or not text.isprintable():
            raise _error(text, "it is empty" if not text else "it holds control characters")
        transport, colon, rest = text.partition(":")
        if colon and transport in _LOCAL:
            return _parse_local(text, transport, rest)
        if colon and transport in _ELSEWHERE:
            raise _error(text, f"{transport}: is not supported; save or push the image first")
        if text.startswith("docker://"):
            return _parse_docker(text, text.removeprefix("docker://"))
        if scheme := _SCHEME.match(text):
            raise _error(text, f"{scheme[0]} is not a known transport")
        if text.startswith(("/", "./", "../", "~")):
            raise _error(text, "it is a path; say what it holds with oci:, oci-archive: or docker-archive:")
        return _parse_docker(text, text)

    @property
    def selector(self) -> str:
        """What to ask an ImageStore for: the digest if there is one, else the tag ("": the only image)."""
        return self.digest or self.tag

    @property
    def location(self) -> str:
        """The reference without tag and digest: what a store is opened by."""
        return str(replace(self, tag="", digest=""))

    def with_tag(self, tag: str) -> "Reference":
        """The same place under another tag, without digest. Raises ReferenceSyntaxError."""
        return replace(self, tag=check_tag(tag, local=self.transport != "docker"), digest="")

    def with_suffix(self, suffix: str) -> "Reference":
        """The same place, tag and ``suffix``. Raises ReferenceSyntaxError if that is no tag (more than 128 characters).

        Where there is no tag: in a local place "latest" takes the suffix; for ``repository@digest`` it is an error.
        """
        if not self.tag and self.transport == "docker":
            raise ReferenceSyntaxError(
                f"{self} has no tag to add {suffix!r} to; name a destination with a tag"
            )
        return self.with_tag((self.tag or "latest") + suffix)

    def __str__(self) -> str:
        place = f"docker://{self.host}/{self.repository}" if self.host else f"{self.transport}:{self.path}"
        return place + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def check_tag(tag: str, *, local: bool = False) -> str:
    """``tag``, known to be one. ``local`` allows what layouts may name an image (``host/name:tag``) as well.

    Raises ReferenceSyntaxError.
    """
    if len(tag) > MAX_TAG_CHARS and not (local and "/" in tag):
        raise ReferenceSyntaxError(
            f"a tag has at most {MAX_TAG_CHARS} characters, this one has {len(tag)}: {tag[:200]!r}"
        )
    if not _TAG.fullmatch(tag) and not (local and _REF_NAME.fullmatch(tag)):
        raise ReferenceSyntaxError(f"not a tag (letters, digits, and . _ - after the first): {tag[:200]!r}")
    return tag


def _parse_local(text: str, transport: str, rest: str) -> Reference:
    rest, digest = _split_digest(text, rest) if transport != "docker-archive" else (rest, "")
    # The first colon ends the path, as in containers/image: a tag may hold colons (host:port/name:tag), a path not.
    path, colon, tag = rest.partition(":")
    if not path:
        raise _error(text, "the path is empty")
    if colon and not tag:
        raise _error(text, "the tag after ':' is empty")
    try:
        return Reference(transport, path=path, tag=check_tag(tag, local=True) if tag else "", digest=digest)
    except ReferenceSyntaxError as e:
        raise _error(text, str(e)) from e


def _parse_docker(text: str, rest: str) -> Reference:
    name, digest = _split_digest(text, rest)
    tag = ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise _error(
                text, f"{tag[:200]!r} is not a tag of at most {MAX_TAG_CHARS} letters, digits and . _ -"
            )
    host, repository = _split_host(name)
    if not _HOST.fullmatch(host):
        raise _error(text, f"{host[:200]!r} is not a host")
    if not _REPOSITORY.fullmatch(repository):
        why = (
            "is upper case in places"
            if _REPOSITORY.fullmatch(repository.lower())
            else "is not a repository name"
        )
        raise _error(text, f"{repository[:200]!r} {why}" if repository else "the repository is missing")
    if len(host) + 1 + len(repository) > _MAX_NAME_CHARS:
        raise _error(text, f"host and repository have more than {_MAX_NAME_CHARS} characters")
    return Reference("docker", host, repository, tag=tag or ("" if digest else "latest"), digest=digest)


def _split_host(name: str) -> tuple[str, str]:
    """Host and repository, by Docker's rule: the part before the first slash is a host if it looks like one."""
    first, slash, rest = name.partition("/")
    if slash and (any(c in first for c in ".:[") or first == "localhost" or first != first.lower()):
        host, repository = first, rest
    else:
        host, repository = "docker.io", name
    if host == "index.docker.io":
        host = "docker.io"
    if host == "docker.io" and repository and "/" not in repository:
        repository = "library/" + repository
    return host, repository


def _split_digest(text: str, rest: str) -> tuple[str, str]:
    before, at, digest = rest.rpartition("@")
    if not at or ":" not in digest or "/" in digest:
        return rest, ""
    try:
        return before, check_digest(digest)
    except (FormatError, UnsupportedError) as e:
        raise _error(text, str(e)) from e


def _error(text: str, why: str) -> ReferenceSyntaxError:
    return ReferenceSyntaxError(f"not an image reference: {text[:300]!r}: {why} ({_ACCEPTED})")
