"""Where the result goes."""

from contextlib import closing

from accel.convert.options import ConvertOptions
from accel.errors import ConfigError
from accel.layout import REF_NAME, LayoutStore, OciArchiveStore
from accel.oci import Reference

ACCELERATED = "_accelerated"
CONTAINERD_ACCELERATED = "_containerd_accelerated"
INDEXED = "_indexed"  # behind the tag of the full result, where an index of the source is made beside it
_SUFFIXES = (CONTAINERD_ACCELERATED, ACCELERATED + INDEXED, ACCELERATED)


def with_its_tag(source: Reference) -> Reference:
    """``source``, with the tag of the only image there if it is a layout or archive and names none.

    What an earlier run left beside that image does not count: the same command finds its work again. Raises
    ``NotFoundError`` if there is no image, or more than one.
    """
    if source.selector or source.transport not in ("oci", "oci-archive"):
        return source
    opened = LayoutStore(source.path) if source.transport == "oci" else OciArchiveStore(source.path)
    with closing(opened) as store:
        tags = store.tags()
        others = [tag for tag in tags if _source_tag(tag) not in tags]
        if len(others) == 1 < len(tags):
            return source.with_tag(others[0])
        descriptor, _ = store.get_manifest("")
    tag = descriptor.annotations.get(REF_NAME)
    return source.with_tag(tag) if tag else source


def destination(source: Reference, dest: Reference | None, options: ConvertOptions) -> Reference:
    """The reference to write: ``dest``, or ``source`` with its tag suffixed. Raises ``ConfigError``."""
    if dest is None:
        if source.transport == "docker-archive":
            raise ConfigError(f"{source} cannot be written to; name a destination, for example oci:DIR:TAG")
        if _source_tag(source.tag):
            raise ConfigError(f"{source} looks accelerated already; name a destination to convert it again")
        dest = source.with_suffix(CONTAINERD_ACCELERATED if options.containerd_only else ACCELERATED)
    if dest.transport == "docker-archive":
        raise ConfigError("docker-archive cannot hold an index; use oci-archive:FILE:TAG")
    if dest.digest:
        raise ConfigError(f"{dest}: a destination is named by a tag, not by a digest")
    if options.referrers and dest.location != source.location:
        raise ConfigError(
            "--referrers links the index to the source image, so DEST must be in the same repository or layout"
        )
    return dest


def _source_tag(tag: str) -> str:
    """The tag that ``tag`` is the default result of; "" if of none."""
    return next((tag.removesuffix(suffix) for suffix in _SUFFIXES if tag.endswith(suffix)), "")
