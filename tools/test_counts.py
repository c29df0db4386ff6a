"""Sums pytest's JUnit files into one line, "N passed, N failed, N skipped": ``test_counts.py FILE…``.

``--failed NAME`` counts a failed section that has no failed test (a linter, a demo) as one failure.
Exits 1 if anything failed or fewer than ``--at-least`` tests passed.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def counts(path: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of one file; errors in set-up count as failures."""
    passed = failed = skipped = 0
    for suite in ElementTree.parse(path).iter("testsuite"):
        total, bad, not_run = (
            int(suite.get("tests", 0)),
            int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
            int(suite.get("skipped", 0)),
        )
        passed, failed, skipped = passed + total - bad - not_run, failed + bad, skipped + not_run
    return passed, failed, skipped


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--at-least", type=int, default=0)
    parser.add_argument("--failed", action="append", default=[], metavar="NAME")
    args = parser.parse_args()
    by_section = {path.stem: counts(path) for path in args.files if path.exists()}
    passed, failed, skipped = (sum(row[i] for row in by_section.values()) for i in range(3))
    failed += sum(1 for name in args.failed if by_section.get(name, (0, 0, 0))[1] == 0)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if passed < args.at_least:
        print(f"wanted at least {args.at_least} passed", file=sys.stderr)
    sys.exit(bool(failed or passed < args.at_least))


if __name__ == "__main__":
    main()
