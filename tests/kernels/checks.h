/* Each check runs one kernel of a table beside the reference on hostile data and returns how many
 * comparisons came out with other bits; the first of them are described on stderr. They need no
 * test framework, so that they also run where there is none (neon.sh). */
#ifndef TESTS_KERNELS_CHECKS_H
#define TESTS_KERNELS_CHECKS_H

#include "fills.h"

typedef struct check {
    const char *name;
    int (*run)(const qdbg__kernels *kernels);
} check;

extern const check checks[];
extern const size_t n_checks;

/* Elementwise kernels, check_elements.c. */
int check_fakequant(const qdbg__kernels *kernels);
int check_fakequant_ties(const qdbg__kernels *kernels);
int check_fakequant_large(const qdbg__kernels *kernels);
int check_channels(const qdbg__kernels *kernels);
int check_blocks(const qdbg__kernels *kernels);
int check_float_formats(const qdbg__kernels *kernels);
int check_integers(const qdbg__kernels *kernels);
int check_integer_channels(const qdbg__kernels *kernels);

/* Division, check_division.c. */
int check_divide(const qdbg__kernels *kernels);
int check_divide_every_divisor(const qdbg__kernels *kernels);
int check_divide_every_numerator(const qdbg__kernels *kernels);

/* Statistics, check_statistics.c. */
int check_stats(const qdbg__kernels *kernels);
int check_error(const qdbg__kernels *kernels);
int check_range(const qdbg__kernels *kernels);
int check_range_channels(const qdbg__kernels *kernels);
int check_moments(const qdbg__kernels *kernels);
int check_histogram(const qdbg__kernels *kernels);

/* Count and describe a difference: 0 when `got` and `want` are the same bytes. */
int differs(const char *what, const qdbg__kernels *kernels, const qdbg__grid *grid, size_t n,
            const void *got, const void *want, size_t bytes);

/* A destination whose surroundings show writes out of bounds: GUARD floats on either side of
 * data[at .. at + n - 1] hold a pattern. */
#define ROOM 8192
#define GUARD 64
typedef struct arena {
    float before[GUARD];
    float data[ROOM];
    float after[GUARD];
} arena;
void arena_reset(arena *a, size_t at, size_t n);
int arena_spoilt(const arena *a, size_t at, size_t n, const qdbg__kernels *kernels);

#endif
