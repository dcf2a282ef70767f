#!/usr/bin/env python3
"""Count the results of a run of "meson test".

usage: count.py [--failed] BUILD_DIR/meson-logs/testlog.json ...

Prints "N passed, N failed, N skipped"; exit status 1 when a test failed or none was run. With
--failed, prints which tests failed and the end of what they said instead.
"""

import json
import sys

PASSED = ("OK", "EXPECTEDFAIL")
TAIL = 40


def results(path):
    try:
        with open(path, encoding="utf-8") as f:
            for line in f:
                test = json.loads(line)
                kind = test["result"]
                yield ("passed" if kind in PASSED else "skipped" if kind == "SKIP" else "failed"), test
    except (OSError, ValueError, KeyError) as e:
        yield "failed", {"name": path, "result": "no log", "stderr": f"cannot read meson's results: {e}"}


def show_failed(path):
    for kind, test in results(path):
        if kind != "failed":
            continue
        print(f"failed in {path}: {test['name']} ({test['result']})")
        for stream in ("stdout", "stderr"):
            for line in (test.get(stream) or "").splitlines()[-TAIL:]:
                print(f"    {line}")


def main():
    paths = sys.argv[1:]
    if paths[:1] == ["--failed"]:
        for path in paths[1:]:
            show_failed(path)
        return 0
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        for kind, _ in results(path):
            counts[kind] += 1
    print(", ".join(f"{n} {kind}" for kind, n in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
