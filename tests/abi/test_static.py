#!/usr/bin/env python3
"""A program linked with the static libraries by what pkg-config --static names.

usage: test_static.py SOURCE_DIR BUILD_DIR [--cc CC]

The first example is linked with libqdebug-onnx.a and libqdebug.a and with the libraries that the
.pc files list as private, and runs; without those it must not link. Skipped with a line where
pkg-config or a compiler is missing. Prints "N passed, N failed, N skipped"; exit status 1 when
something failed.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile


def flags(build, *wanted):
    """What pkg-config tells of the libraries as they lie in the build."""
    path = os.path.join(build, "meson-uninstalled")
    env = dict(os.environ, PKG_CONFIG_PATH=path)
    out = subprocess.run(["pkg-config", *wanted, "libqdebug-onnx-uninstalled"], env=env,
                         capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(f"pkg-config: {out.stderr}")
    return shlex.split(out.stdout)


def static(build, args):
    """The same with our own libraries named as archives, which no shared one stands in for. What
    OpenBLAS asks for beside (the runtime of Fortran), its shared library brings along."""
    ours = {"-lqdebug": "lib/libqdebug.a", "-lqdebug-onnx": "lib/onnx/libqdebug-onnx.a"}
    return [os.path.join(build, ours[a]) if a in ours else a for a in args if a != "-lgfortran"]


def link(args, folder, libs):
    source = os.path.join(args.source, "doc", "examples", "first.c")
    program = os.path.join(folder, "first")
    out = subprocess.run([*args.cc.split(), source, *flags(args.build, "--cflags"), *libs,
                          *os.environ.get("LDFLAGS", "").split(), "-o", program],
                         capture_output=True, text=True)
    return program, out


def uses_shared(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return "libqdebug" in out


def run(args):
    """(name, problem) of every check."""
    with tempfile.TemporaryDirectory() as folder:
        private = static(args.build, flags(args.build, "--static", "--libs"))
        program, out = link(args, folder, private)
        if out.returncode != 0:
            yield "links", out.stderr[-2000:]
            return
        yield "links", None
        yield "stands alone", "needs a shared libqdebug" if uses_shared(program) else None
        code = subprocess.run([program], stdin=subprocess.DEVNULL).returncode
        yield "runs", None if code == 2 else f"exit status {code} without arguments, not 2"
        os.remove(program)
        _, out = link(args, folder, static(args.build, flags(args.build, "--libs")))
        yield "needs what is private", None if out.returncode else "links without it"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("build")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    args = parser.parse_args()
    if not shutil.which("pkg-config") or not shutil.which(args.cc.split()[0]):
        print("skipped: pkg-config or a compiler is missing\n0 passed, 0 failed, 1 skipped")
        return 0
    results = list(run(args))
    for name, problem in results:
        print(f"{'FAILED' if problem else 'ok'} {name}{': ' + problem if problem else ''}")
    failed = sum(problem is not None for _, problem in results)
    print(f"{len(results) - failed} passed, {failed} failed, 0 skipped")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
