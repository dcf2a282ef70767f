#define _GNU_SOURCE
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sched.h>
#include <unistd.h>
#include <qdebug/base.h>

int32_t qdbg__cpu_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return QDBG_CPU_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return QDBG_CPU_AVX2;
#elif defined(__aarch64__)
    return QDBG_CPU_NEON;
#endif
    return QDBG_CPU_REFERENCE;
}

int32_t qdbg__cpu_allows(int32_t level)
{
    int32_t best = qdbg__cpu_best();
    if (level == QDBG_CPU_REFERENCE || level == best)
        return 1;
    return level == QDBG_CPU_AVX2 && best == QDBG_CPU_AVX512;
}

uint32_t qdbg__cpu_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

#if defined(__x86_64__)
/* Bytes of the last cache that a leaf of cpuid describes. sysconf() will not do: on AMD it adds up
 * the caches of all core complexes, though a core fills only its own. */
static uint64_t cpuid_last_cache(uint32_t leaf)
{
    uint64_t size = 0;
    for (uint32_t level = 0; level < 8; level++) {
        uint32_t a, b, c, d;
        __cpuid_count(leaf, level, a, b, c, d);
        if ((a & 31) == 0)
            break;
        size = (uint64_t)((b >> 22) + 1) * ((b >> 12 & 0x3ff) + 1) * ((b & 0xfff) + 1);
        size *= (uint64_t)c + 1;
    }
    return size;
}
#endif

uint64_t qdbg__cpu_last_level_cache(void)
{
    uint64_t bytes = 0;
#if defined(__x86_64__)
    if ((uint32_t)__get_cpuid_max(0x80000000u, NULL) >= 0x8000001du)
        bytes = cpuid_last_cache(0x8000001du);
    if (bytes == 0 && __get_cpuid_max(0, NULL) >= 4)
        bytes = cpuid_last_cache(4);
#elif defined(_SC_LEVEL3_CACHE_SIZE)
    long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
    bytes = size > 0 ? (uint64_t)size : 0;
#endif
    return bytes ? bytes : 32u << 20;
}
