/* What the machine offers. */
#ifndef QDBG_BASE_CPU_H
#define QDBG_BASE_CPU_H

#include <stdint.h>

/* The best QDBG_CPU_ level that this machine runs and this build contains. */
int32_t qdbg__cpu_best(void);

/* Whether `level` can be used here. */
int32_t qdbg__cpu_allows(int32_t level);

/* Processors that this process may use, at least 1. */
uint32_t qdbg__cpu_cores(void);

/* Bytes of the last-level cache, or 32 MiB when the system does not say. */
uint64_t qdbg__cpu_last_level_cache(void);

#endif
