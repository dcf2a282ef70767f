#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"

/* ---- memory ---- */

#define MAGIC 0x9e3779b97f4a7c15u

/* What lies before each block, in 64 bytes of its own. */
typedef struct block {
    uint64_t magic, size, align;
    heap *owner;
} block;

static bool refuses(heap *h)
{
    h->n_calls++;
    bool failed =
        h->fail_at && (h->persistent ? h->n_calls >= h->fail_at : h->n_calls == h->fail_at);
    h->n_failed += failed;
    return failed;
}

static void *heap_alloc(void *user, size_t size, size_t align)
{
    heap *h = user;
    void *memory = NULL;
    pthread_mutex_lock(&h->mutex);
    bool refused = refuses(h);
    if (!refused) {
        h->n_live++;
        h->live_bytes += size;
    }
    pthread_mutex_unlock(&h->mutex);
    if (refused)
        return NULL;
    /* Not assert_: this may be a worker thread. */
    if (size == 0 || align == 0 || align > 64 || (align & (align - 1)) != 0 ||
        posix_memalign(&memory, 64, 64 + size) != 0)
        abort();
    memset(memory, 0xa5, 64 + size); /* nobody may count on zeros */
    *(block *)memory = (block){MAGIC, size, align, h};
    return (char *)memory + 64;
}

static void heap_free(void *user, void *ptr, size_t size, size_t align)
{
    heap *h = user;
    block *b = (block *)((char *)ptr - 64);
    if (b->magic != MAGIC || b->owner != h || b->size != size || b->align != align) {
        fprintf(stderr, "free(%zu, %zu) of a block of (%llu, %llu)\n", size, align,
                (unsigned long long)b->size, (unsigned long long)b->align);
        abort();
    }
    b->magic = 0;
    pthread_mutex_lock(&h->mutex);
    h->n_live--;
    h->live_bytes -= size;
    pthread_mutex_unlock(&h->mutex);
    free(b);
}

void heap_init(heap *h)
{
    *h = (heap){0};
    assert_int_equal(pthread_mutex_init(&h->mutex, NULL), 0);
}

qdbg_allocator heap_allocator(heap *h)
{
    return (qdbg_allocator){sizeof(qdbg_allocator), 0, h, heap_alloc, heap_free};
}

void heap_arm(heap *h, uint64_t fail_at, bool persistent)
{
    h->n_calls = h->n_failed = 0;
    h->fail_at = fail_at;
    h->persistent = persistent;
}

qdbg_ctx *heap_ctx(heap *h, uint32_t threads)
{
    qdbg_allocator allocator = heap_allocator(h);
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    options.threads = threads;
    options.allocator = &allocator;
    assert_ok(qdbg_ctx_create(&options, &ctx));
    return ctx;
}

void heap_end(heap *h, qdbg_ctx *ctx)
{
    qdbg_ctx_destroy(ctx);
    assert_int_equal(h->n_live, 0);
    assert_int_equal(h->live_bytes, 0);
    pthread_mutex_destroy(&h->mutex);
}

/* ---- errors ---- */

qdbg_error_info error_of(const qdbg_ctx *ctx)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    assert_ok(qdbg_ctx_error(ctx, &info));
    return info;
}

void check_failure(const qdbg_ctx *ctx, qdbg_status got, qdbg_status want, const char *text,
                   const char *file, int line)
{
    qdbg_error_info info = error_of(ctx);
    if (got == want && info.status == want && strstr(info.message, text))
        return;
    print_error("%s, recorded %s, '%s'; expected %s with '%s'\n", qdbg_status_name(got),
                qdbg_status_name(info.status), info.message, qdbg_status_name(want), text);
    _fail(file, line);
}

/* ---- networks ---- */

uint32_t value_of(const qdbg_graph *g, const char *name)
{
    uint32_t value = qdbg_graph_find_value(g, name);
    assert_int_not_equal(value, QDBG_NONE);
    return value;
}

/* A parameter of whole numbers from -3 to 3. */
static uint32_t whole_param(qdbg_graph *g, const char *name, const int64_t *dims, uint64_t *seed)
{
    float data[256];
    size_t n = dims_count(dims);
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++)
        data[i] = (float)make_int(seed, -3, 3);
    return make_param(g, name, dims, data);
}

static uint32_t add_gemm(qdbg_graph *g, const char *name, uint32_t x, const char *const names[2],
                         int64_t in, int64_t out, uint64_t *seed)
{
    uint32_t w = whole_param(g, names[0], DIMS(in, out), seed);
    uint32_t b = whole_param(g, names[1], DIMS(out), seed);
    return make_node(g, "Gemm", name, VALUES(x, w, b), NULL);
}

static uint32_t add_x(qdbg_graph *g, uint32_t rank, const int64_t *dims)
{
    uint32_t x = QDBG_NONE;
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, rank, dims, &x));
    assert_ok(qdbg_graph_add_input(g, x));
    return x;
}

qdbg_graph *net_of_gemms(qdbg_ctx *ctx, bool symbolic)
{
    static const char *const first[] = {"w1", "b1"}, *const second[] = {"w2", "b2"};
    const int64_t dims[] = {symbolic ? QDBG_DIM_UNKNOWN : 1, 4};
    uint64_t seed = 1;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = add_x(g, 2, dims);
    uint32_t h = add_gemm(g, "h", x, first, 4, 6, &seed);
    uint32_t r = make_node(g, "Relu", "r", &h, 1, NULL);
    make_finish(g, add_gemm(g, "y", r, second, 6, 3, &seed));
    return g;
}

qdbg_graph *net_of_convs(qdbg_ctx *ctx)
{
    static const float gamma[] = {4, 2, -1, 1}, beta[] = {0, 1, 3, -2}, mean[] = {1, 0, -1, 2};
    static const float var[] = {1, 4, 0.25f, 1};
    static const char *const last[] = {"fw", "fb"};
    uint64_t seed = 2;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = add_x(g, 4, DIMS(1, 2, 4, 4));
    uint32_t w = whole_param(g, "cw", DIMS(4, 2, 1, 1), &seed);
    uint32_t b = whole_param(g, "cb", DIMS(4), &seed);
    uint32_t c = make_node(g, "Conv", "c", VALUES(x, w, b), NULL);
    uint32_t bn[] = {c, make_param(g, "gamma", DIMS(4), gamma),
                     make_param(g, "beta", DIMS(4), beta), make_param(g, "mean", DIMS(4), mean),
                     make_param(g, "var", DIMS(4), var)};
    uint32_t n = make_node(g, "BatchNormalization", "n", bn, 5, &node);
    assert_ok(qdbg_graph_set_float(g, node, "epsilon", 0)); /* all results are exact */
    uint32_t r = make_node(g, "Relu", "r", &n, 1, NULL);
    uint32_t p = make_node(g, "GlobalAveragePool", "p", &r, 1, NULL);
    uint32_t f = make_node(g, "Flatten", "f", &p, 1, NULL);
    make_finish(g, add_gemm(g, "y", f, last, 4, 3, &seed));
    return g;
}

/* ---- data ---- */

static qdbg_value_info info_of(const qdbg_graph *g, uint32_t value)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    assert_ok(qdbg_graph_value(g, value, &info));
    return info;
}

qdbg_view samples_view(const qdbg_graph *g, const samples *s)
{
    qdbg_value_info info = info_of(g, qdbg_graph_input(g, 0));
    qdbg_view view = QDBG_VIEW_INIT;
    info.dims[0] = (int64_t)s->n;
    assert_ok(qdbg_view_init(&view, QDBG_F32, info.rank, info.dims, s->x));
    return view;
}

samples samples_make(qdbg_ctx *ctx, const qdbg_graph *g, uint64_t n, uint64_t batch_size,
                     int64_t classes)
{
    uint64_t seed = 77, each = 1;
    qdbg_value_info info = info_of(g, qdbg_graph_input(g, 0));
    samples s = {.n = n};
    for (uint32_t i = 1; i < info.rank; i++)
        each *= (uint64_t)info.dims[i];
    s.x = malloc(n * each * sizeof *s.x);
    s.labels = malloc(n * sizeof *s.labels);
    assert_true(s.x && s.labels);
    for (uint64_t i = 0; i < n * each; i++)
        s.x[i] = (float)make_int(&seed, -8, 8);
    for (uint64_t i = 0; i < n; i++)
        s.labels[i] = classes ? make_int(&seed, 0, classes - 1) : 0;
    qdbg_view view = samples_view(g, &s);
    assert_ok(qdbg_arrays_create(ctx, &view, 1, classes ? s.labels : NULL, batch_size, &s.arrays));
    assert_ok(qdbg_arrays_dataset(s.arrays, &s.set));
    return s;
}

void samples_free(samples *s)
{
    qdbg_arrays_destroy(s->arrays);
    free(s->labels);
    free(s->x);
}

qdbg_metric metric_of(int32_t kind)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    metric.kind = kind;
    return metric;
}

qdbg_model *builtin_model(qdbg_graph *g)
{
    qdbg_model *m = NULL;
    assert_ok(qdbg_model_create(g, &m));
    return m;
}
