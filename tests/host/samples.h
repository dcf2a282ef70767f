/* Real samples for the two networks of these tests. */
#ifndef TESTS_HOST_SAMPLES_H
#define TESTS_HOST_SAMPLES_H

#include <qdebug/tensor.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct samples {
    qdbg_view inputs; /* float32 [n, ...], owned */
    int64_t *labels;  /* [n], owned */
} samples;

/* The first `n` test images of Debian's dataset-fashion-mnist, as the demo model wants them. False
 * when there are not so many; *why says why. */
bool samples_fashion(size_t n, samples *out, const char **why);

/* The first `n` samples of the zoo's DS-CNN. `folder`: the zoo, or NULL. */
bool samples_kws(const char *folder, size_t n, samples *out, const char **why);

void samples_free(samples *s);

#endif
