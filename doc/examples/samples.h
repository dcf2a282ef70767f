/* Arrays on disk as a dataset: cut into batches, brought into the model's layout and type. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include <qdebug/qdebug.h>

#include "npy.h"
#include "options.h"

/* Samples that calibrate when no other ones are given. */
#define DEFAULT_CALIBRATION 500

/* One input of the model with the array that feeds it. */
typedef struct sample_input {
    const char *path;
    const char *name; /* of the graph's value; lives as long as the graph */
    npy_array array;
    qdbg_view view;         /* one batch; dims[0] is set for each */
    uint64_t size;          /* elements of a sample */
    uint64_t channels;      /* of a sample: axis 1 of the view */
    uint64_t nhwc;          /* channels of a [N,H,W,C] array to be transposed; 0: none */
    const float_list *mean; /* NULL: 0 */
    const float_list *std;  /* NULL: 1 */
    void *raw;              /* a batch as it is in the file */
    void *turned;           /* the same transposed; NULL when nhwc is 0 */
} sample_input;

typedef struct samples {
    sample_input inputs[MAX_INPUTS];
    qdbg_view views[MAX_INPUTS]; /* what a batch shows */
    uint32_t n_inputs;
    uint64_t step;   /* samples that the model runs at a time */
    uint64_t n;      /* samples, a multiple of step */
    uint64_t batch;  /* samples of a full batch, likewise */
    int64_t *labels; /* [n], or NULL */
} samples;

/* Open the arrays `paths` for the graph's inputs; `o` tells mean, std and layout. At most `limit`
 * samples are taken (0: all). False after a line on stderr. Free it with samples_close() always. */
bool samples_open(samples *s, const qdbg_graph *graph, const path_list *paths, const options *o,
                  uint64_t limit, uint32_t threads);

/* Read labels for the samples; the graph's first output tells the number of classes. */
bool samples_label(samples *s, const qdbg_graph *graph, const char *path);

/* Read all samples of arrays that may hold NaN or infinities, which no network can be judged by.
 * False after a line on stderr. */
bool samples_check(samples *s);

/* A dataset that reads `s`. Its callback fails after a line on stderr. */
void samples_dataset(samples *s, qdbg_dataset *dataset);

void samples_close(samples *s);

#endif
