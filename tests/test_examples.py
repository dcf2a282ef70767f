#!/usr/bin/env python3
"""The README's two programs in C, run.

usage: test_examples.py FIRST MEND SOURCE_DIR

Prints "N passed, N failed"; exit status 1 when something failed.
"""

import os
import random
import re
import subprocess
import sys

PIXELS = 1000 * 28 * 28
STEPS = ("batch-norms folded", "without dead channels", "equalized", "AdaRound")


def run(program, *args, pixels=b""):
    p = subprocess.run([program, *args], input=pixels, capture_output=True, timeout=300, check=False)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def steps_are_scored(out):
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    return len(lines) == len(STEPS) and all(
        re.fullmatch(re.escape(step) + r"(: undone)? +[01]\.\d{3}", line)
        for step, line in zip(STEPS, lines))


def main():
    if len(sys.argv) != 4:
        print("usage: test_examples.py FIRST MEND SOURCE_DIR", file=sys.stderr)
        return 2
    first, mend = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    model = os.path.join(sys.argv[3], "doc", "examples", "fashion_mnist.onnx")
    pixels = random.Random(1).randbytes(PIXELS)
    failed = 0
    for name, program, args, size, good in (
            ("first", first, [], PIXELS // 5,
             lambda out: re.fullmatch(
                 r"\S+: agreement with float32 [01]\.\d{3}, output SQNR -?\d+\.\d dB\n", out)),
            ("mend", mend, ["4"], PIXELS, steps_are_scored)):
        code, out, err = run(program, model, *args, pixels=pixels[:size])
        no_model = run(program, "none.onnx", *args, pixels=pixels[:size])
        facts = {
            "says what it found": code == 0 and err == "" and good(out),
            "refuses too few pixels": run(program, model, *args, pixels=pixels[:size - 1])[0] == 2,
            "tells how it is used": name == "mend" or "usage" in run(program)[2],
            "names a missing model": no_model[0] == 1 and "none.onnx" in no_model[2],
        }
        for fact, holds in facts.items():
            if not holds:
                print(f"FAILED {name} {fact}: exit {code}, {out!r}, {err!r}")
        failed += sum(not holds for holds in facts.values())
    print(f"{8 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
