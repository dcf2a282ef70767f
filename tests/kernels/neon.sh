#!/bin/sh
# Build the kernels for AArch64 with Debian's cross compiler and compare NEON with the reference
# under qemu-user. Needs gcc-aarch64-linux-gnu and qemu-user. Exit status 77 (skip) without them.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cc=${CROSS_CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU_AARCH64:-qemu-aarch64}
command -v "$cc" >/dev/null && command -v "$qemu" >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernels=$root/lib/kernels
tests=$root/tests/kernels
"$cc" -std=c11 -O2 -Wall -Wextra -Werror -ffp-contract=off -static -DQDBG_HAVE_NEON \
    -I"$root/include" -o "$work/run_checks" \
    "$kernels"/*.c "$kernels"/arm/*.c "$root/lib/base/cpu.c" \
    "$tests"/check*.c "$tests/fills.c" "$tests/run_checks.c" -lm
"$qemu" "$work/run_checks"
