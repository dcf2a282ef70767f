/* The sums behind adaround_gram.h. */
#ifndef QDBG_ANALYSIS_ADAROUND_GRAM_SUM_H
#define QDBG_ANALYSIS_ADAROUND_GRAM_SUM_H

#include "adaround_gram.h"

/* Add the columns in the buffers to the sums. The buffers are used up. */
qdbg_status qdbg__gram_sum(qdbg__gatherer *t);

/* Floats of scratch for each thread, for `n` columns at once. */
size_t qdbg__gram_scratch(const qdbg__linear *l, size_t n);

#endif
