#!/usr/bin/env python3
"""The README's first program, compiled and run.

usage: test_first.py FIRST SOURCE_DIR

Prints "N passed, N failed"; exit status 1 when something failed.
"""

import os
import random
import re
import subprocess
import sys

PIXELS = 200 * 28 * 28


def run(program, *args, pixels=b""):
    p = subprocess.run([program, *args], input=pixels, capture_output=True, timeout=300, check=False)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def main():
    if len(sys.argv) != 3:
        print("usage: test_first.py FIRST SOURCE_DIR", file=sys.stderr)
        return 2
    first = os.path.abspath(sys.argv[1])
    model = os.path.join(sys.argv[2], "doc", "examples", "fashion_mnist.onnx")
    pixels = random.Random(1).randbytes(PIXELS)
    code, out, err = run(first, model, pixels=pixels)
    facts = {
        "the worst quantizer is named": code == 0 and err == "" and re.fullmatch(
            r"\S+: agreement with float32 [01]\.\d{3}, output SQNR -?\d+\.\d dB\n", out),
        "too few pixels are refused": run(first, model, pixels=pixels[:-1])[0] == 2,
        "a missing model is named": run(first, "none.onnx", pixels=pixels)[0] == 1
        and "none.onnx" in run(first, "none.onnx", pixels=pixels)[2],
    }
    for fact, holds in facts.items():
        if not holds:
            print(f"FAILED {fact}: exit {code}, {out!r}, {err!r}")
    failed = sum(not holds for holds in facts.values())
    print(f"{len(facts) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
