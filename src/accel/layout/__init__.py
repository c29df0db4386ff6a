"""Images on disk: OCI layout directories, tars of them, and ``docker save`` archives. All are ImageStores."""

from accel.layout.docker_archive import DockerArchiveStore
from accel.layout.index_json import REF_NAME
from accel.layout.oci_archive import OciArchiveStore
from accel.layout.oci_dir import LayoutStore

__all__ = ["REF_NAME", "DockerArchiveStore", "LayoutStore", "OciArchiveStore"]
