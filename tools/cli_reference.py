"""Writes the command line reference: ``cli_reference.py FILE``. The text is the program's own help."""

import re
import subprocess
import sys
from pathlib import Path

from accel.cli.app import application

HEAD = "<!-- Written by `make docs`; change the help texts in src/accel/cli instead. -->\n\n"

app = application()  # for Typer's program, which reads it from this file


def plain(text: str) -> str:
    """Markdown of typer's mix of Markdown and HTML: bold stays, colours go."""
    text = re.sub(r'<span style="font-weight: bold">(.*?)</span>', r"**\1**", text, flags=re.DOTALL)
    return re.sub(r"</?span[^>]*>", "", text)


def main() -> None:
    command = [sys.executable, "-m", "typer", "--app", "app", __file__, "utils", "docs", "--name", "accel"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    Path(sys.argv[1]).write_text(HEAD + plain(done.stdout).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
