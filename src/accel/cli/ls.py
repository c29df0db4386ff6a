"""``accel ls``."""

from typing import TYPE_CHECKING, Annotated

import typer

from accel.cli.options import JsonOption, PlatformOption, Registries, parse_platform, with_registries

if TYPE_CHECKING:
    from accel.reader import PathInfo


@with_registries
def ls(
    registries: Registries,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to look into.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="A directory or file in it.")] = "/",
    long: Annotated[bool, typer.Option("--long", "-l", help="Mode, owner, size and time as well.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="Everything below, with full paths.")
    ] = False,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """List files of an image, from its index alone.

    \b
      accel ls registry.example.com/app:1.0_accelerated /usr/bin
      accel ls -lR oci:build/image:1.0_accelerated /etc
    """
    import sys

    from accel.cli.render import print_json, printable
    from accel.reader import open_image

    with open_image(image, platform=parse_platform(platform), registries=registries()) as opened:
        found = opened.ls(path, recursive=recursive)
        if as_json:
            print_json([_plain(info) for info in found])
            return
        for info in found:
            name = printable("/" + info.name if recursive else info.name.rpartition("/")[2])
            sys.stdout.write((_long_line(info, name) if long else name) + "\n")


def _plain(info: "PathInfo") -> dict[str, object]:
    entry = info.entry
    row: dict[str, object] = {
        "path": "/" + info.name,
        "kind": info.kind,
        "mode": info.mode,
        "size": info.size,
    }
    if entry is not None:
        row |= {"uid": entry.uid, "gid": entry.gid, "layer": info.layer}
        if entry.has_mtime:
            row["mtime"] = entry.mtime_s + entry.mtime_ns / 1e9
    if info.linkname:
        row["target"] = info.linkname
    return row


def _long_line(info: "PathInfo", name: str) -> str:
    import stat
    from datetime import UTC, datetime

    from accel.cli.render import printable

    kinds = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}
    kinds |= {"char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}
    entry = info.entry
    owner = f"{entry.uid}:{entry.gid}" if entry is not None else "0:0"
    when = "-"
    if entry is not None and entry.has_mtime:
        try:
            when = datetime.fromtimestamp(entry.mtime_s, UTC).strftime("%Y-%m-%d %H:%M")
        except (ValueError, OverflowError, OSError):
            when = str(entry.mtime_s)
    arrow = f" -> {printable(info.linkname)}" if info.linkname else ""
    return (
        f"{stat.filemode(kinds[info.kind] | info.mode)} {owner:>11} {info.size:>12} {when:>16} {name}{arrow}"
    )
