#!/usr/bin/env python3
"""Count the results of a run of "meson test".

usage: count.py BUILD_DIR/meson-logs/testlog.json

Prints "N passed, N failed, N skipped"; exit status 1 when a test failed or none was run.
"""

import json
import sys

PASSED = ("OK", "EXPECTEDFAIL")


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        with open(sys.argv[1], encoding="utf-8") as f:
            for line in f:
                result = json.loads(line)["result"]
                kind = "passed" if result in PASSED else "skipped" if result == "SKIP" else "failed"
                counts[kind] += 1
    except (OSError, ValueError, KeyError) as e:
        print(f"cannot read meson's results: {e}", file=sys.stderr)
        counts["failed"] += 1
    print(", ".join(f"{n} {kind}" for kind, n in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
