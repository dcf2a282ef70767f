/* Does an array fit an input of the model? */
#ifndef FIT_H
#define FIT_H

#include <stdbool.h>
#include <stdint.h>

#include <qdebug/qdebug.h>

#include "npy.h"

/* How the samples of an array become samples of an input. */
typedef struct fitting {
    uint32_t rank;               /* of a batch */
    int64_t dims[QDBG_MAX_RANK]; /* [rank] of a batch; dims[0] is not set */
    uint64_t size;               /* elements of a sample */
    uint64_t nhwc;               /* channels to be brought forward; 0: nothing to transpose */
} fitting;

/* Fit `array` ([N, ...], not empty) from file `path` to the input that `info` describes. Dimensions
 * of 1 may be missing and neighbours may be merged or split, but never reordered. False after a
 * line on stderr that shows both shapes. */
bool fit_array(const char *path, const npy_array *array, bool nhwc, const qdbg_value_info *info,
               fitting *fit);

#endif
