"""Runs the benches: rows as JSON lines on standard output (or in a file), and as a table.

    PYTHONPATH=src python bench/run.py [BENCH ...] [--tiny] [--rounds 5] [--only CASE] [--json FILE]

``--tiny`` runs everything once on little data, to see that it works; its numbers mean nothing.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import Row, table  # noqa: E402

BENCHES = (
    "scan", "read", "checksum", "tar", "members", "memory", "start_fetch", "process", "image", "full", "curve",
    "adverse", "service", "service_events",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", choices=[*BENCHES, []], help=f"default: all of {', '.join(BENCHES)}")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="just this case of a bench")
    parser.add_argument("--json", type=Path, help="append rows to this file instead")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.benches or BENCHES:
        bench = importlib.import_module(name)
        for row in bench.run(arguments.tiny, 1 if arguments.tiny else arguments.rounds, arguments.only):
            rows.append(row)
            if arguments.json:
                with arguments.json.open("a") as out:
                    print(row.as_json(), file=out)
            else:
                print(row.as_json(), flush=True)
    print(table(rows), file=sys.stderr if not arguments.json else sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
