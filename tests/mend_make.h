/* What the tests of repairs share: normalizations, outputs and parameters kept for comparison. */
#ifndef TESTS_MEND_MAKE_H
#define TESTS_MEND_MAKE_H

#include "support.h"

#define MEND_EPSILON 0.01f

/* BatchNormalization with random numbers; parameters are called "<name>.gamma" and so on. `var`
 * [channels] NULL: random. */
uint32_t make_norm(qdbg_graph *g, const char *name, uint32_t x, int64_t channels, const float *var,
                   uint64_t *seed);

/* The first output for all samples. */
typedef struct outputs {
    float *y;
    size_t n;
} outputs;

outputs outputs_take(qdbg_model *m, const samples *s);
/* Largest difference over the largest element. */
double outputs_difference(const outputs *a, const outputs *b);
void outputs_free(outputs *o);

/* All float32 parameters. */
typedef struct saved {
    float **of; /* [n] NULL where no parameter */
    uint64_t *counts;
    uint32_t n;
} saved;

saved params_save(qdbg_model *m);
bool params_same(qdbg_model *m, const saved *was);
void params_free(saved *s);

#endif
