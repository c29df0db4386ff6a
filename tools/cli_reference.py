"""Writes the command line reference: ``cli_reference.py FILE``. The text is the program's own help."""

import subprocess
import sys
from pathlib import Path

HEAD = "<!-- Written by `make docs`; change the help texts in src/accel/cli instead. -->\n\n"


def main() -> None:
    command = [sys.executable, "-m", "typer", "accel.cli", "utils", "docs", "--name", "accel"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    Path(sys.argv[1]).write_text(HEAD + done.stdout.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
