#include "samples.h"

#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "fit.h"

/* Float32 bytes of a batch that are enough to amortise a call, and samples that always are. */
#define BATCH_BYTES (8u << 20)
#define MAX_BATCH 256

/* ---- opening ---- */

static bool open_array(sample_input *in, const char *path)
{
    npy_error error;
    in->path = path;
    in->array.fd = -1;
    if (!npy_open(path, &in->array, &error)) {
        console_error("%s: %s", path, error.text);
        return false;
    }
    if (in->array.rank == 0 || in->array.count == 0) {
        console_error("%s: holds no samples", path);
        return false;
    }
    return true;
}

static bool check_type(const sample_input *in)
{
    const int32_t dtype = in->view.dtype;
    if (dtype == QDBG_F32)
        return true;
    if (dtype != QDBG_I64 && dtype != QDBG_I32 && dtype != QDBG_U8 && dtype != QDBG_BOOL) {
        console_error("input '%s' is %s; float32, int64, int32, uint8 and bool can be fed",
                      in->name, qdbg_dtype_name(dtype));
        return false;
    }
    if (npy_is_float(in->array.type)) {
        console_error("%s: holds %s, but the model's input '%s' is %s", in->path,
                      npy_type_name(in->array.type), in->name, qdbg_dtype_name(dtype));
        return false;
    }
    if (in->mean || in->std) {
        console_error("--%s: the model's input '%s' is %s, not float32", in->mean ? "mean" : "std",
                      in->name, qdbg_dtype_name(dtype));
        return false;
    }
    return true;
}

static bool check_list(const sample_input *in, const char *name, const float_list *list)
{
    if (!list || list->n == 1 || list->n == in->channels)
        return true;
    console_error("%s has %u values, but the model's input '%s' has %llu channel%s", name, list->n,
                  in->name, (unsigned long long)in->channels, in->channels == 1 ? "" : "s");
    return false;
}

/* Bring array number `i` together with the graph's input number `i`. */
static bool fit_input(sample_input *in, const qdbg_graph *graph, uint32_t i, const options *o)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    fitting fit;
    qdbg_graph_value(graph, qdbg_graph_input(graph, i), &info);
    if (!fit_array(in->path, &in->array, o->nhwc, &info, &fit))
        return false;
    in->name = info.name;
    in->size = fit.size;
    in->nhwc = fit.nhwc;
    in->mean = i < o->n_mean ? &o->mean[i] : NULL;
    in->std = i < o->n_std ? &o->std[i] : NULL;
    qdbg_view view = QDBG_VIEW_INIT;
    view.dtype = info.dtype;
    view.rank = fit.rank;
    memcpy(view.dims, fit.dims, sizeof view.dims);
    in->view = view;
    in->channels = view.rank > 1 ? (uint64_t)view.dims[1] : 1;
    return check_type(in) && check_list(in, "--mean", in->mean) && check_list(in, "--std", in->std);
}

static bool check_inputs(const samples *s)
{
    for (uint32_t i = 1; i < s->n_inputs; i++) {
        if (s->inputs[i].array.dims[0] != s->inputs[0].array.dims[0]) {
            console_error("%s has %llu samples, %s has %llu", s->inputs[0].path,
                          (unsigned long long)s->inputs[0].array.dims[0], s->inputs[i].path,
                          (unsigned long long)s->inputs[i].array.dims[0]);
            return false;
        }
    }
    return true;
}

static bool check_nhwc(const samples *s)
{
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        if (s->inputs[i].array.rank == 4)
            return true;
    }
    console_error("%s: --nhwc needs an array of four dimensions, not %u", s->inputs[0].path,
                  s->inputs[0].array.rank);
    return false;
}

/* Samples that the model runs at a time: a fixed first dimension of its first input. */
static uint64_t model_batch(const qdbg_graph *graph)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    qdbg_graph_value(graph, qdbg_graph_input(graph, 0), &info);
    if (info.rank == 0 || info.rank == QDBG_RANK_UNKNOWN || info.dims[0] < 1)
        return 1;
    return (uint64_t)info.dims[0];
}

static bool choose_counts(samples *s, uint64_t limit, uint32_t threads)
{
    const uint64_t all = s->inputs[0].array.dims[0];
    const uint64_t wanted = limit && limit < all ? limit : all;
    uint64_t bytes = 0;
    s->n = wanted - wanted % s->step;
    if (s->n == 0) {
        console_error("%s: %llu samples, but the model runs %llu at a time", s->inputs[0].path,
                      (unsigned long long)wanted, (unsigned long long)s->step);
        return false;
    }
    if (s->n < wanted)
        console_warning("%s: the model runs %llu samples at a time; using the first %llu of %llu",
                        s->inputs[0].path, (unsigned long long)s->step, (unsigned long long)s->n,
                        (unsigned long long)wanted);
    for (uint32_t i = 0; i < s->n_inputs; i++)
        bytes += s->inputs[i].size * sizeof(float);
    s->batch = bytes ? BATCH_BYTES / bytes : MAX_BATCH;
    if (s->batch > MAX_BATCH)
        s->batch = MAX_BATCH;
    if (s->batch < 4 * (uint64_t)threads)
        s->batch = 4 * (uint64_t)threads;
    s->batch += (s->step - s->batch % s->step) % s->step;
    if (s->batch > s->n)
        s->batch = s->n;
    return true;
}

static bool allocate(samples *s)
{
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        sample_input *in = &s->inputs[i];
        const size_t element = npy_element_size(in->array.type);
        const size_t count = (size_t)(s->batch * in->size);
        in->raw = calloc(count, element);
        in->view.data = calloc(count, qdbg_dtype_size(in->view.dtype));
        if (in->nhwc)
            in->turned = calloc(count, element);
        if (!in->raw || !in->view.data || (in->nhwc && !in->turned)) {
            console_error("out of memory");
            return false;
        }
    }
    return true;
}

bool samples_open(samples *s, const qdbg_graph *graph, const path_list *paths, const options *o,
                  uint64_t limit, uint32_t threads)
{
    const uint32_t n = qdbg_graph_input_count(graph);
    memset(s, 0, sizeof *s);
    if (paths->n != n) {
        console_error("%s: the model has %u input%s, but %u array%s given", o->model, n,
                      n == 1 ? "" : "s", paths->n, paths->n == 1 ? " is" : "s are");
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        s->n_inputs = i + 1;
        if (!open_array(&s->inputs[i], paths->paths[i]))
            return false;
    }
    if (!check_inputs(s) || (o->nhwc && !check_nhwc(s)))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!fit_input(&s->inputs[i], graph, i, o))
            return false;
    }
    s->step = model_batch(graph);
    return choose_counts(s, limit, threads) && allocate(s);
}

void samples_close(samples *s)
{
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        if (s->inputs[i].array.fd >= 0)
            npy_close(&s->inputs[i].array);
        free(s->inputs[i].raw);
        free(s->inputs[i].turned);
        free(s->inputs[i].view.data);
    }
    free(s->labels);
    memset(s, 0, sizeof *s);
}

/* ---- labels ---- */

/* Classes that the first output tells apart; 0 where the graph does not say. */
static int64_t class_count(const qdbg_graph *graph)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    int64_t n = 1;
    qdbg_graph_value(graph, qdbg_graph_output(graph, 0), &info);
    if (info.rank < 2 || info.rank == QDBG_RANK_UNKNOWN)
        return 0;
    for (uint32_t i = 1; i < info.rank; i++) {
        if (info.dims[i] < 1 || info.dims[i] > INT32_MAX / n)
            return 0;
        n *= info.dims[i];
    }
    return n;
}

static bool check_labels(const samples *s, int64_t classes, const char *path)
{
    for (uint64_t i = 0; i < s->n; i++) {
        const int64_t label = s->labels[i];
        if (label < 0 || (classes && label >= classes)) {
            console_error("%s: sample %llu: label %lld is not in 0..%lld", path,
                          (unsigned long long)i, (long long)label,
                          (long long)(classes ? classes - 1 : INT64_MAX));
            return false;
        }
    }
    return true;
}

static bool read_labels(samples *s, const npy_array *array, const char *path)
{
    const uint64_t want = s->inputs[0].array.dims[0];
    npy_error error;
    if (npy_is_float(array->type)) {
        console_error("%s: holds %s; labels are integers", path, npy_type_name(array->type));
        return false;
    }
    if (array->rank != 1) {
        console_error("%s: has %u dimensions; labels have one", path, array->rank);
        return false;
    }
    if (array->count != want) {
        console_error("%s: %llu labels, but %s has %llu samples", path,
                      (unsigned long long)array->count, s->inputs[0].path,
                      (unsigned long long)want);
        return false;
    }
    void *raw = calloc((size_t)s->n, npy_element_size(array->type));
    s->labels = calloc((size_t)s->n, sizeof *s->labels);
    bool ok = raw && s->labels;
    if (!ok)
        console_error("out of memory");
    if (ok && !npy_read(array, 0, s->n, raw, &error)) {
        console_error("%s: %s", path, error.text);
        ok = false;
    }
    const uint64_t fit = ok ? npy_to_int64(array->type, raw, s->n, s->labels) : 0;
    if (ok && fit < s->n) {
        console_error("%s: sample %llu: the label is beyond int64", path, (unsigned long long)fit);
        ok = false;
    }
    free(raw);
    return ok;
}

bool samples_label(samples *s, const qdbg_graph *graph, const char *path)
{
    npy_array array;
    npy_error error;
    if (!npy_open(path, &array, &error)) {
        console_error("%s: %s", path, error.text);
        return false;
    }
    const bool ok = read_labels(s, &array, path);
    npy_close(&array);
    return ok && check_labels(s, class_count(graph), path);
}
