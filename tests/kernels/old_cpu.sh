#!/bin/sh
# Run a test program on emulated x86-64 processors, one without AVX and one with AVX2 but not
# AVX-512: where it reached code for a newer one it would die of an illegal instruction. That the
# emulator does refuse such code is tried first, by forcing AVX2 and AVX-512 kernels on it.
# Needs qemu-user; exit status 77 (skip) without it.
# usage: old_cpu.sh RUN_CHECKS PROGRAM [ARGUMENT...]
set -eu
qemu=${QEMU_X86_64:-qemu-x86_64}
command -v "$qemu" >/dev/null || exit 77
run_checks=$1
shift
avx2=2 avx512=3 # QDBG_CPU_ levels

# refuses CPU LEVEL
refuses() {
    if "$qemu" -cpu "$1" "$run_checks" "$2" >/dev/null 2>&1; then
        echo "an emulated $1 ran kernels of level $2: this test would prove nothing" >&2
        exit 1
    fi
    echo "an emulated $1 refuses kernels of level $2"
}
refuses Westmere $avx2
refuses Westmere $avx512
refuses Haswell $avx512

for cpu in Westmere Haswell; do
    echo "on $cpu:"
    "$qemu" -cpu "$cpu" "$@"
done
