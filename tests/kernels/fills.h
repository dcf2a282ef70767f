/* Data that finds faults in rounding: ties, ends, zeros, NaN payloads, every kind of bit pattern.
 * Random numbers alone meet one tie in a million. */
#ifndef TESTS_KERNELS_FILLS_H
#define TESTS_KERNELS_FILLS_H

#include "../../lib/kernels/kernels.h"

typedef struct rng {
    uint64_t state;
} rng;

uint64_t rng_next(rng *r);
size_t rng_below(rng *r, size_t n);
float rng_uniform(rng *r, float lo, float hi);
float rng_normal(rng *r);

enum {
    FILL_TIES,    /* halves of the grid's steps, their neighbours, and 0.49999997 of a step */
    FILL_ENDS,    /* the range's ends, half a step past them, and neighbours */
    FILL_SPECIAL, /* +-0, NaN payloads, infinities, denormals, largest and smallest */
    FILL_BITS,    /* any 32 bits */
    FILL_NORMAL,  /* Gaussian over the range and a little more */
    FILL_MIXED,   /* all of the above side by side */
    FILL_FINITE,  /* FILL_MIXED without NaN and infinities */
    FILLS,
};

void fill(float *x, size_t n, int kind, const qdbg__grid *grid, rng *r);

/* Grids of every kind: all roundings, bit-widths, zero points at both ends, scales plain, with all
 * mantissa bits set, near the smallest and largest normal. Returns their number; `at` < that. */
size_t grid_count(void);
qdbg__grid grid_at(size_t at);

/* The ISA levels that this machine and build offer, the reference not among them. */
size_t levels(int32_t out[4]);

#endif
