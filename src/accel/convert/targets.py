"""Where the result goes."""

from accel.convert.options import ConvertOptions
from accel.errors import ConfigError
from accel.oci import Reference

ACCELERATED = "_accelerated"


def destination(source: Reference, dest: Reference | None, options: ConvertOptions) -> Reference:
    """The reference to write: ``dest``, or ``source`` with its tag suffixed. Raises ``ConfigError``."""
    if dest is None:
        if source.transport == "docker-archive":
            raise ConfigError(f"{source} cannot be written to; name a destination, for example oci:DIR:TAG")
        if source.tag.endswith(ACCELERATED):
            raise ConfigError(f"{source} looks accelerated already; name a destination to convert it again")
        dest = source.with_suffix(ACCELERATED)
    if dest.transport == "docker-archive":
        raise ConfigError("docker-archive cannot hold an index; use oci-archive:FILE:TAG")
    if dest.digest:
        raise ConfigError(f"{dest}: a destination is named by a tag, not by a digest")
    if options.referrers and dest.location != source.location:
        raise ConfigError(
            "--referrers links the index to the source image, so DEST must be in the same repository or layout"
        )
    return dest
