#include "oom.h"

#include "../../lib/base/ctx.h"

const char untouched = 0;

void reset_outs(world *w)
{
    w->out = UNTOUCHED;
    w->score = -7;
    w->id = 77;
    w->hash = 0;
}

static void world_begin(world *w, const scenario *c)
{
    *w = (world){.metric = metric_of(QDBG_METRIC_TOP1)};
    heap_init(&w->h);
    w->ctx = heap_ctx(&w->h, 2);
    c->prepare(w);
    reset_outs(w);
}

static void world_end(world *w)
{
    qdbg_rules_destroy(w->rules);
    qdbg_diagnosis_destroy(w->d);
    qdbg_sim_destroy(w->sim);
    if (w->s.x)
        samples_free(&w->s);
    qdbg_model_destroy(w->m);
    if (w->has_engine)
        engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    heap_end(&w->h, w->ctx);
}

static void check_failure_left_nothing(world *w, const scenario *c, qdbg_status status,
                                       qdbg_status want)
{
    if (status != want || error_of(w->ctx).status != want)
        fail_msg("%s: %s instead of %s", c->name, qdbg_status_name(status), qdbg_status_name(want));
    assert_ptr_equal(w->out, UNTOUCHED);
    assert_true(w->score == -7 && w->id == 77 && w->hash == 0);
    if (c->intact)
        c->intact(w);
}

static void drop(world *w, const scenario *c)
{
    if (c->drop && w->out != UNTOUCHED)
        c->drop(w);
    w->out = UNTOUCHED;
}

/* After a first call: all is as it should be, and a second call gives what a clean one gives. */
static void conclude(world *w, const scenario *c, const world *clean, bool failed)
{
    if (failed && !c->once) {
        reset_outs(w);
        assert_int_equal(c->call(w), QDBG_OK);
    }
    if (!failed || !c->once)
        assert_true(w->score == clean->score && w->id == clean->id && w->hash == clean->hash);
    drop(w, c);
    world_end(w);
}

/* False when the call succeeded because no allocation came to `at`. */
static bool fail_at(const scenario *c, uint64_t at, bool persistent, const world *clean)
{
    world w;
    world_begin(&w, c);
    heap_arm(&w.h, at, persistent);
    qdbg_status status = c->call(&w);
    bool failed = w.h.n_failed > 0;
    heap_arm(&w.h, 0, false);
    if (failed)
        check_failure_left_nothing(&w, c, status, QDBG_E_NOMEM);
    else
        assert_int_equal(status, QDBG_OK);
    conclude(&w, c, clean, failed);
    return failed;
}

/* The same by the context's own ceiling, `room` bytes above what it holds: false when it fits. */
static bool fail_above(const scenario *c, uint64_t room, const world *clean)
{
    world w;
    world_begin(&w, c);
    w.ctx->memory_limit = w.ctx->memory_current + room;
    qdbg_status status = c->call(&w);
    bool failed = status != QDBG_OK;
    w.ctx->memory_limit = 0;
    if (failed)
        check_failure_left_nothing(&w, c, status, QDBG_E_LIMIT);
    conclude(&w, c, clean, failed);
    return failed;
}

#define CEILINGS 50

static void run_one(const scenario *c)
{
    world clean;
    world_begin(&clean, c);
    heap_arm(&clean.h, 0, false);
    clean.ctx->memory_peak = clean.ctx->memory_current;
    uint64_t before = clean.ctx->memory_current;
    assert_int_equal(c->call(&clean), QDBG_OK);
    uint64_t n = clean.h.n_calls, need = clean.ctx->memory_peak - before;
    drop(&clean, c);
    if (n == 0)
        fail_msg("%s allocates nothing", c->name);
    for (int persistent = 0; persistent < 2; persistent++) {
        uint64_t at = 1;
        while (fail_at(c, at, persistent, &clean))
            at++;
        assert_int_equal(at, n + 1);
    }
    for (uint64_t i = 0; i < CEILINGS && need > 0; i++) /* 0: it frees before it allocates */
        if (!fail_above(c, (need - 1) * i / CEILINGS, &clean))
            fail_msg("%s needs less than %llu bytes", c->name, (unsigned long long)need);
    assert_false(fail_above(c, need, &clean));
    world_end(&clean);
}

void run_out_of_memory(const scenario *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        run_one(&all[i]);
}

/* ---- worlds ---- */

uint64_t hash_of(const void *data, size_t n)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
    return hash;
}

void with_nothing(world *w)
{
    (void)w;
}

void with_graph(world *w)
{
    w->g = net_of_convs(w->ctx);
}

void with_builtin(world *w)
{
    with_graph(w);
    w->m = builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 10, 3, 3);
}

void with_host(world *w)
{
    with_graph(w);
    w->m = engine_model(&w->e, w->g);
    w->has_engine = true;
    w->s = samples_make(w->ctx, w->g, 10, 3, 3);
}

void with_unplanned(world *w)
{
    w->g = net_of_gemms(w->ctx, true);
    w->m = builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 10, 3, 3);
}

void with_sim(world *w)
{
    with_builtin(w);
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
}

void with_host_sim(world *w)
{
    with_host(w);
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
}

void with_calibrated(world *w)
{
    with_sim(w);
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
}

void with_calibrated_host(world *w)
{
    with_host_sim(w);
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
}
