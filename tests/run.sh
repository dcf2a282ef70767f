#!/bin/sh
# Build everything and run all tests.
#
# usage: [QDBG_TESTS="option ..."] sh tests/run.sh [BUILD_DIR [option of "meson setup" ...]]
#
# Does everything itself, from a fresh Debian 12 on: installs what is missing (as root or through
# sudo), builds into BUILD_DIR (build/ when none is given; options count only when it is new), and
# runs the tests; QDBG_TESTS may hold options of "meson test", such as a suite. The last line is
# "N passed, N failed, N skipped"; the exit status is 1 when something failed.
set -eu

cd "$(dirname "$0")/.."
. tests/packages.sh
install_packages $BUILD_PACKAGES libcmocka-dev zlib1g-dev g++ clang libclang-rt-dev valgrind python3-pycparser \
    libonnx-testdata dataset-fashion-mnist qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross

build=${1:-build}
[ $# = 0 ] || shift
[ -f "$build/build.ninja" ] || meson setup "$build" "$@"
meson compile -C "$build"

log=$build/meson-logs/testlog.json
rm -f "$log"
meson test -C "$build" --no-rebuild --print-errorlogs ${QDBG_TESTS:-} || true
exec python3 tests/count.py "$log"
