#include <math.h>
#include <string.h>

#include "console.h"
#include "samples.h"

/* Integers are converted in blocks of this many. */
#define BLOCK 256

/* [n,pixels,channels] to [n,channels,pixels], whatever the elements are. */
static void transpose(const sample_input *in, uint64_t n)
{
    const size_t element = npy_element_size(in->array.type);
    const uint64_t pixels = in->size / in->nhwc;
    const char *src = in->raw;
    char *dst = in->turned;
    for (uint64_t i = 0; i < n; i++) {
        const char *sample = src + i * in->size * element;
        for (uint64_t c = 0; c < in->nhwc; c++) {
            for (uint64_t p = 0; p < pixels; p++) {
                memcpy(dst, sample + (p * in->nhwc + c) * element, element);
                dst += element;
            }
        }
    }
}

/* x = (x - mean) / std, in float32. */
static void normalize(const sample_input *in, uint64_t n)
{
    const uint64_t run = in->size / in->channels;
    float *x = in->view.data;
    for (uint64_t i = 0; i < n * in->channels; i++, x += run) {
        const uint64_t c = i % in->channels;
        const float mean = in->mean ? in->mean->values[in->mean->n > 1 ? c : 0] : 0;
        const float std = in->std ? in->std->values[in->std->n > 1 ? c : 0] : 1;
        for (uint64_t k = 0; k < run; k++)
            x[k] = (x[k] - mean) / std;
    }
}

static bool all_finite(const sample_input *in, uint64_t first, uint64_t n)
{
    const float *x = in->view.data;
    for (uint64_t i = 0; i < n * in->size; i++) {
        if (!isfinite(x[i])) {
            console_error("%s: sample %llu: holds %s", in->path,
                          (unsigned long long)(first + i / in->size),
                          isnan(x[i]) ? "NaN" : "an infinity");
            return false;
        }
    }
    return true;
}

static bool put_integer(void *data, int32_t dtype, uint64_t i, int64_t v)
{
    if (dtype == QDBG_I64) {
        ((int64_t *)data)[i] = v;
        return true;
    }
    if (dtype == QDBG_I32) {
        ((int32_t *)data)[i] = (int32_t)v;
        return v >= INT32_MIN && v <= INT32_MAX;
    }
    ((uint8_t *)data)[i] = (uint8_t)v;
    return v >= 0 && v <= (dtype == QDBG_BOOL ? 1 : UINT8_MAX);
}

static bool convert_integers(const sample_input *in, const void *raw, uint64_t first, uint64_t n)
{
    const size_t element = npy_element_size(in->array.type);
    int64_t block[BLOCK];
    for (uint64_t at = 0; at < n * in->size; at += BLOCK) {
        const uint64_t left = n * in->size - at, count = left < BLOCK ? left : BLOCK;
        const uint64_t fit =
            npy_to_int64(in->array.type, (const char *)raw + at * element, count, block);
        for (uint64_t i = 0; i < fit; i++) {
            if (!put_integer(in->view.data, in->view.dtype, at + i, block[i])) {
                console_error("%s: sample %llu: %lld does not fit into %s", in->path,
                              (unsigned long long)(first + (at + i) / in->size),
                              (long long)block[i], qdbg_dtype_name(in->view.dtype));
                return false;
            }
        }
        if (fit < count) {
            console_error("%s: sample %llu: a number beyond int64 does not fit into %s", in->path,
                          (unsigned long long)(first + (at + fit) / in->size),
                          qdbg_dtype_name(in->view.dtype));
            return false;
        }
    }
    return true;
}

/* Read samples [first, first + n) of an input into its view. */
static bool fill(sample_input *in, uint64_t first, uint64_t n)
{
    npy_error error;
    if (!npy_read(&in->array, first * in->size, n * in->size, in->raw, &error)) {
        console_error("%s: %s", in->path, error.text);
        return false;
    }
    if (in->nhwc)
        transpose(in, n);
    const void *raw = in->nhwc ? in->turned : in->raw;
    in->view.dims[0] = (int64_t)n;
    if (in->view.dtype != QDBG_F32)
        return convert_integers(in, raw, first, n);
    npy_to_float(in->array.type, raw, n * in->size, in->view.data);
    if (in->mean || in->std)
        normalize(in, n);
    return all_finite(in, first, n);
}

static int32_t give_batch(void *user, uint64_t index, qdbg_batch *batch)
{
    samples *s = user;
    const uint64_t first = index * s->batch, left = s->n - first;
    const uint64_t n = left < s->batch ? left : s->batch;
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        if (!fill(&s->inputs[i], first, n))
            return -1;
        s->views[i] = s->inputs[i].view;
    }
    batch->n_inputs = s->n_inputs;
    batch->inputs = s->views;
    batch->labels = s->labels ? s->labels + first : NULL;
    batch->n_samples = n;
    return 0;
}

bool samples_check(samples *s)
{
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        const bool suspect = npy_is_float(s->inputs[i].array.type);
        for (uint64_t first = 0; suspect && first < s->n; first += s->batch) {
            const uint64_t left = s->n - first;
            if (!fill(&s->inputs[i], first, left < s->batch ? left : s->batch))
                return false;
        }
    }
    return true;
}

void samples_dataset(samples *s, qdbg_dataset *dataset)
{
    qdbg_dataset_init(dataset);
    dataset->n_batches = (s->n + s->batch - 1) / s->batch;
    dataset->user = s;
    dataset->batch = give_batch;
}
