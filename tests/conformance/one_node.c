#define _POSIX_C_SOURCE 200809L
#include "one_node.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void must(const one_node *o, qdbg_status status)
{
    if (status == QDBG_OK)
        return;
    fprintf(stderr, "one_node: %s\n", qdbg_ctx_error_message(o->ctx));
    abort();
}

static qdbg_view make_view(const one_node *o, int32_t dtype, const int64_t *dims, const void *data)
{
    qdbg_view view;
    uint32_t rank = 0;
    while (dims[rank] >= 0)
        rank++;
    must(o, qdbg_view_init(&view, dtype, rank, dims, &view)); /* data follows */
    size_t bytes = (size_t)qdbg_view_count(&view) * qdbg_dtype_size(dtype);
    view.data = calloc(1, bytes);
    if (bytes > 0 && !view.data)
        abort();
    if (bytes > 0 && data)
        memcpy(view.data, data, bytes);
    return view;
}

/* Not a byte more than is asked for: see interp.c. */
static void *exact_alloc(void *user, size_t size, size_t align)
{
    void *p;
    (void)user;
    return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void exact_free(void *user, void *ptr, size_t size, size_t align)
{
    (void)user;
    (void)size;
    (void)align;
    free(ptr);
}

void one_begin(one_node *o, uint32_t opset)
{
    const qdbg_allocator exact = {
        .struct_size = sizeof exact, .alloc = exact_alloc, .free = exact_free};
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = 1;
    options.allocator = &exact;
    *o = (one_node){0};
    must(o, qdbg_ctx_create(&options, &o->ctx));
    must(o, qdbg_graph_create(o->ctx, opset, &o->graph));
}

void one_input(one_node *o, int32_t dtype, const int64_t *dims, const void *data)
{
    qdbg_view view = make_view(o, dtype, dims, data);
    char name[16];
    snprintf(name, sizeof name, "in%u", o->n_in);
    must(o, qdbg_graph_add_value(o->graph, name, dtype, view.rank, view.dims, &o->in[o->n_in]));
    must(o, qdbg_graph_add_input(o->graph, o->in[o->n_in]));
    o->n_in++;
    o->feeds[o->n_feeds++] = view;
}

void one_param(one_node *o, int32_t dtype, const int64_t *dims, const void *data)
{
    qdbg_view view = make_view(o, dtype, dims, data);
    char name[16];
    snprintf(name, sizeof name, "in%u", o->n_in);
    must(o, qdbg_graph_add_parameter(o->graph, name, &view, &o->in[o->n_in]));
    free(view.data);
    o->n_in++;
}

void one_ints(one_node *o, const int64_t *values, int64_t n)
{
    one_param(o, QDBG_I64, DIMS(n), values);
}

void one_absent(one_node *o)
{
    o->in[o->n_in++] = QDBG_NONE;
}

void one_op(one_node *o, const char *type, uint32_t n_out)
{
    for (uint32_t i = 0; i < n_out; i++) {
        char name[16];
        snprintf(name, sizeof name, "out%u", i);
        must(o, qdbg_graph_add_value(o->graph, name, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL,
                                     &o->out[i]));
        must(o, qdbg_graph_add_output(o->graph, o->out[i]));
    }
    o->n_out = n_out;
    must(o, qdbg_graph_add_node(o->graph, type, "n", o->in, o->n_in, o->out, n_out, &o->node));
}

void one_set_ints(one_node *o, const char *name, const int64_t *values, uint32_t n)
{
    must(o, qdbg_graph_set_ints(o->graph, o->node, name, values, n));
}

void one_set_int(one_node *o, const char *name, int64_t value)
{
    must(o, qdbg_graph_set_int(o->graph, o->node, name, value));
}

void one_set_float(one_node *o, const char *name, float value)
{
    must(o, qdbg_graph_set_float(o->graph, o->node, name, value));
}

void one_set_string(one_node *o, const char *name, const char *value)
{
    must(o, qdbg_graph_set_string(o->graph, o->node, name, value));
}

qdbg_status one_run(one_node *o, qdbg_view *out)
{
    qdbg_status status = qdbg_graph_finish(o->graph);
    return status == QDBG_OK ? interp_run(o->graph, o->feeds, out) : status;
}

void one_end(one_node *o)
{
    for (uint32_t i = 0; i < o->n_feeds; i++)
        free(o->feeds[i].data);
    qdbg_graph_destroy(o->graph);
    qdbg_ctx_destroy(o->ctx);
}

/* ---- random shapes ---- */

static uint64_t seed = 1;

void pick_from(uint64_t start)
{
    seed = start;
}

int64_t pick(int64_t lo, int64_t hi)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return lo + (int64_t)((seed >> 33) % (uint64_t)(hi - lo + 1));
}

int64_t count(const shape *s)
{
    int64_t n = 1;
    for (uint32_t d = 0; d < s->rank; d++)
        n *= s->dims[d];
    return n;
}

shape random_shape(uint32_t min_rank, uint32_t max_rank, int64_t min_dim, int64_t max_dim)
{
    shape s = {.rank = (uint32_t)pick(min_rank, max_rank)};
    for (uint32_t d = 0; d < s.rank; d++)
        s.dims[d] = pick(min_dim, max_dim);
    s.dims[s.rank] = -1;
    return s;
}

float *random_floats(int64_t n)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)pick(-1000, 1000) / 256.0f;
    return x;
}

void unravel(int64_t i, const shape *s, int64_t *at)
{
    for (uint32_t d = s->rank; d-- > 0;) {
        at[d] = i % s->dims[d];
        i /= s->dims[d];
    }
}

int64_t ravel(const shape *s, const int64_t *at)
{
    int64_t i = 0;
    for (uint32_t d = 0; d < s->rank; d++)
        i = i * s->dims[d] + at[d];
    return i;
}

int64_t broadcast_index(const shape *s, const int64_t *at, uint32_t rank)
{
    int64_t own[QDBG_MAX_RANK];
    for (uint32_t d = 0; d < s->rank; d++)
        own[d] = s->dims[d] == 1 ? 0 : at[rank - s->rank + d];
    return ravel(s, own);
}

shape part_of(const shape *full)
{
    shape s = {.rank = (uint32_t)pick(0, full->rank)};
    for (uint32_t d = 0; d < s.rank; d++)
        s.dims[d] = pick(0, 2) ? full->dims[full->rank - s.rank + d] : 1;
    s.dims[s.rank] = -1;
    return s;
}

/* ---- assertions ---- */

void assert_shape(const qdbg_view *v, int32_t dtype, const int64_t *dims)
{
    assert_int_equal(v->dtype, dtype);
    uint32_t rank = 0;
    for (; dims[rank] >= 0; rank++)
        assert_int_equal(v->dims[rank], dims[rank]);
    assert_int_equal(v->rank, rank);
}

void assert_floats(const qdbg_view *v, const float *want, size_t n)
{
    assert_int_equal(v->dtype, QDBG_F32);
    assert_int_equal(qdbg_view_count(v), n);
    for (size_t i = 0; i < n; i++) {
        float got = ((const float *)v->data)[i];
        if (!(isnan(want[i]) ? isnan(got) : got == want[i] || fabsf(got - want[i]) <= 1e-6f))
            fail_msg("[%zu] is %.9g, not %.9g", i, (double)got, (double)want[i]);
    }
}

void assert_ints(const qdbg_view *v, const int64_t *want, size_t n)
{
    assert_int_equal(v->dtype, QDBG_I64);
    assert_int_equal(qdbg_view_count(v), n);
    assert_memory_equal(v->data, want, n * sizeof *want);
}

void assert_fails(one_node *o, qdbg_status want, const char *text)
{
    qdbg_view out[ONE_MAX];
    qdbg_status status = one_run(o, out);
    if (status != want || !strstr(qdbg_ctx_error_message(o->ctx), text))
        fail_msg("%s: '%s', not %s with '%s'", qdbg_status_name(status),
                 qdbg_ctx_error_message(o->ctx), qdbg_status_name(want), text);
    one_end(o);
}
