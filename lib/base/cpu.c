#define _GNU_SOURCE
#include "cpu.h"

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

uint64_t qdbg__cpu_last_level_cache(void)
{
#ifdef _SC_LEVEL3_CACHE_SIZE
    long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (size > 0)
        return (uint64_t)size;
#endif
    return 32u << 20;
}
