#include "graph_make.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static uint32_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

float make_float(uint64_t *seed, float lo, float hi)
{
    return lo + (hi - lo) * ((float)(next(seed) >> 7) / 16777216.0f);
}

int64_t make_int(uint64_t *seed, int64_t lo, int64_t hi)
{
    return lo + (int64_t)(next(seed) % (uint64_t)(hi - lo + 1));
}

float *make_floats(uint64_t *seed, size_t n)
{
    float *data = malloc((n + 1) * sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = make_float(seed, -1.0f, 1.0f);
    return data;
}

qdbg_ctx *make_ctx(uint32_t threads)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    options.threads = threads;
    assert_int_equal(qdbg_ctx_create(&options, &ctx), QDBG_OK);
    return ctx;
}

qdbg_graph *make_graph(qdbg_ctx *ctx, uint32_t opset)
{
    qdbg_graph *g = NULL;
    assert_int_equal(qdbg_graph_create(ctx, opset, &g), QDBG_OK);
    return g;
}

static uint32_t rank_of(const int64_t *dims)
{
    uint32_t n = 0;
    while (dims[n] >= 0)
        n++;
    return n;
}

size_t dims_count(const int64_t *dims)
{
    size_t n = 1;
    for (uint32_t i = 0; dims[i] >= 0; i++)
        n *= (size_t)dims[i];
    return n;
}

qdbg_view make_view(const int64_t *dims, const float *data)
{
    qdbg_view view = QDBG_VIEW_INIT;
    view.dtype = QDBG_F32;
    view.rank = rank_of(dims);
    for (uint32_t i = 0; i < view.rank; i++)
        view.dims[i] = dims[i];
    view.data = (void *)(uintptr_t)data;
    return view;
}

uint32_t make_input(qdbg_graph *g, const char *name, const int64_t *dims)
{
    uint32_t id = QDBG_NONE;
    assert_int_equal(qdbg_graph_add_value(g, name, QDBG_F32, rank_of(dims), dims, &id), QDBG_OK);
    assert_int_equal(qdbg_graph_add_input(g, id), QDBG_OK);
    return id;
}

uint32_t make_param(qdbg_graph *g, const char *name, const int64_t *dims, const float *data)
{
    uint32_t id = QDBG_NONE;
    qdbg_view view = make_view(dims, data);
    assert_int_equal(qdbg_graph_add_parameter(g, name, &view, &id), QDBG_OK);
    return id;
}

uint32_t make_random(qdbg_graph *g, const char *name, const int64_t *dims, uint64_t *seed)
{
    float *data = make_floats(seed, dims_count(dims));
    uint32_t id = make_param(g, name, dims, data);
    free(data);
    return id;
}

uint32_t make_node(qdbg_graph *g, const char *op, const char *name, const uint32_t *inputs,
                   uint32_t n_inputs, uint32_t *node)
{
    uint32_t out = QDBG_NONE;
    assert_int_equal(qdbg_graph_add_value(g, name, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL, &out),
                     QDBG_OK);
    assert_int_equal(qdbg_graph_add_node(g, op, name, inputs, n_inputs, &out, 1, node), QDBG_OK);
    return out;
}

void make_ints(qdbg_graph *g, uint32_t node, const char *name, const int64_t *list)
{
    assert_int_equal(qdbg_graph_set_ints(g, node, name, list, rank_of(list)), QDBG_OK);
}

void make_finish(qdbg_graph *g, uint32_t output)
{
    assert_int_equal(qdbg_graph_add_output(g, output), QDBG_OK);
    assert_int_equal(qdbg_graph_finish(g), QDBG_OK);
}

float *make_run(const qdbg_graph *g, const int64_t *dims, const float *x, qdbg_view *shape)
{
    qdbg_view in = make_view(dims, x);
    qdbg__exec *exec = NULL;
    assert_int_equal(qdbg__exec_create(g, &in, &exec), QDBG_OK);
    *shape = *qdbg__exec_value(exec, qdbg_graph_output(g, 0));
    float *y = malloc((qdbg_view_count(shape) + 1) * sizeof *y);
    assert_non_null(y);
    qdbg__variant base = {0};
    void *outputs[] = {y};
    qdbg__exec_job job = {
        .inputs = &in, .n_runs = 1, .variants = &base, .n_variants = 1, .outputs = outputs};
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_OK);
    qdbg__exec_destroy(exec);
    return y;
}
