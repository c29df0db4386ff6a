"""A given gzip member as the middle of a layer."""

import io
import tarfile

from support.gzip_member import packed


def around(member: bytes, data: bytes) -> tuple[bytes, bytes]:
    """``(blob, tar)``: a layer of several members, where ``member`` holds ``data``, the bytes of a file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("data")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    whole = out.getvalue()
    return packed(whole[:512]) + member + packed(whole[512 + len(data) :]), whole
