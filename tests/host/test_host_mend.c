/* Repairs through an engine outside the library (engine.c) and through the built-in executor, which
 * do the same arithmetic: the same rows, the same parameters to the bit; undoing brings back every
 * bit of what was before, and a guard that sees a score fall undoes all.
 * usage: test_host_mend fashion_mnist.onnx */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

/* ---- networks: bounds of Clip by channel, so that they can be scaled ---- */

static bool expose(const network *net, qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    qdbg_graph *read;
    if (!net->graph(ctx, &read, why))
        return false;
    bool good = qdbg_graph_expose_clips(read, out) == QDBG_OK;
    qdbg_graph_destroy(read);
    *why = "its clips cannot be exposed";
    return good;
}

static bool exposed_demo(qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    return expose(&network_demo, ctx, out, why);
}

static bool exposed_kws(qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    return expose(&network_kws, ctx, out, why);
}

static bool exposed_small(qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    return expose(&network_small, ctx, out, why);
}

static world *w;

static int open_network(const network *net, bool (*graph)(qdbg_ctx *, qdbg_graph **, const char **))
{
    network exposed = *net;
    exposed.graph = graph;
    exposed.n_samples = net->n_samples / 2; /* enough, and it takes half the time */
    w = world_open(&exposed);
    return 0;
}

static int open_demo(void **state)
{
    (void)state;
    return open_network(&network_demo, exposed_demo);
}

static int open_kws(void **state)
{
    (void)state;
    return open_network(&network_kws, exposed_kws);
}

static int open_small(void **state)
{
    (void)state;
    return open_network(&network_small, exposed_small);
}

static int close_network(void **state)
{
    (void)state;
    if (w)
        world_close(w);
    w = NULL;
    return 0;
}

#define NEEDS_NETWORK() \
    if (!w)             \
    skip()

/* ---- one repair on both models ---- */

enum { BUILT_IN, HOST, BOTH };

static qdbg_model *model_at(int which)
{
    return which == HOST ? w->host : w->built_in;
}

/* A repair seen through functions of one form. */
typedef struct repair {
    const char *name;
    qdbg_status (*run)(int which, const void *how, void **result);
    uint32_t (*count)(const void *result);
    qdbg_status (*row)(const void *result, uint32_t i, void *row); /* row: 256 zeroed bytes */
    int32_t (*guard)(const void *result, double *before, double *after);
    qdbg_status (*undo)(void *result);
    void (*destroy)(void *result);
    size_t outcome;      /* where the row has it */
    int32_t first, last; /* the outcomes that mean that something was changed */
} repair;

static qdbg_sim *sims[BOTH]; /* of the two models */

static void open_sims(uint32_t bits)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_bits = bits;
    for (int i = 0; i < BOTH; i++) {
        ASSERT_OK(w, qdbg_sim_create(model_at(i), &o, &sims[i]));
        ASSERT_OK(w, qdbg_sim_calibrate(sims[i], &w->data));
    }
}

static void close_sims(void)
{
    for (int i = 0; i < BOTH; i++)
        qdbg_sim_destroy(sims[i]);
}

/* ---- fold ---- */

static qdbg_status fold(int which, const void *how, void **result)
{
    qdbg_fold_options o = *(const qdbg_fold_options *)how;
    o.guard_sim = o.guard_metric ? sims[which] : NULL;
    return qdbg_fold_run(model_at(which), &o, (qdbg_fold **)result);
}

static uint32_t fold_count(const void *r)
{
    return qdbg_fold_count(r);
}

static qdbg_status fold_row(const void *r, uint32_t i, void *row)
{
    qdbg_fold_row_init(row);
    return qdbg_fold_get(r, i, row);
}

static int32_t fold_guard(const void *r, double *before, double *after)
{
    return qdbg_fold_guard(r, before, after);
}

static qdbg_status fold_undo(void *r)
{
    return qdbg_fold_undo(r);
}

static void fold_destroy(void *r)
{
    qdbg_fold_destroy(r);
}

static const repair repair_fold = {"fold",
                                   fold,
                                   fold_count,
                                   fold_row,
                                   fold_guard,
                                   fold_undo,
                                   fold_destroy,
                                   offsetof(qdbg_fold_row, outcome),
                                   QDBG_FOLD_BACKWARD,
                                   QDBG_FOLD_STANDALONE};

/* ---- equalize and absorb ---- */

static qdbg_status equalize(int which, const void *how, void **result)
{
    qdbg_equalize_options o = *(const qdbg_equalize_options *)how;
    o.guard_sim = o.guard_metric ? sims[which] : NULL;
    return qdbg_equalize_run(model_at(which), &o, (qdbg_equalize **)result);
}

static qdbg_status absorb(int which, const void *how, void **result)
{
    qdbg_absorb_options o = *(const qdbg_absorb_options *)how;
    o.guard_sim = o.guard_metric ? sims[which] : NULL;
    return qdbg_absorb_biases(model_at(which), &o, (qdbg_equalize **)result);
}

static uint32_t equalize_count(const void *r)
{
    return qdbg_equalize_count(r);
}

static qdbg_status equalize_row(const void *r, uint32_t i, void *row)
{
    qdbg_equalize_row_init(row);
    return qdbg_equalize_get(r, i, row);
}

static int32_t equalize_guard(const void *r, double *before, double *after)
{
    return qdbg_equalize_guard(r, before, after);
}

static qdbg_status equalize_undo(void *r)
{
    return qdbg_equalize_undo(r);
}

static void equalize_destroy(void *r)
{
    qdbg_equalize_destroy(r);
}

#define EQUALIZE_RESULT                                                            \
    equalize_count, equalize_row, equalize_guard, equalize_undo, equalize_destroy, \
        offsetof(qdbg_equalize_row, outcome)

static const repair repair_equalize = {"equalize", equalize, EQUALIZE_RESULT, QDBG_EQUALIZE_DONE,
                                       QDBG_EQUALIZE_DONE};
static const repair repair_absorb = {"absorb", absorb, EQUALIZE_RESULT, QDBG_EQUALIZE_ABSORBED,
                                     QDBG_EQUALIZE_ABSORBED};

/* ---- bias correction ---- */

static qdbg_status correct(int which, const void *how, void **result)
{
    const qdbg_bias_options *o = how;
    bool data = o->kind == QDBG_BIAS_EMPIRICAL || o->guard_metric;
    return qdbg_bias_correct(sims[which], data ? &w->data : NULL, o,
                             (qdbg_bias_correction **)result);
}

static uint32_t correct_count(const void *r)
{
    return qdbg_bias_correction_count(r);
}

static qdbg_status correct_row(const void *r, uint32_t i, void *row)
{
    qdbg_bias_row_init(row);
    return qdbg_bias_correction_get(r, i, row);
}

static int32_t correct_guard(const void *r, double *before, double *after)
{
    return qdbg_bias_correction_guard(r, before, after);
}

static qdbg_status correct_undo(void *r)
{
    return qdbg_bias_correction_undo(r);
}

static void correct_destroy(void *r)
{
    qdbg_bias_correction_destroy(r);
}

static const repair repair_bias = {
    "bias correction", correct,       correct_count,   correct_row,
    correct_guard,     correct_undo,  correct_destroy, offsetof(qdbg_bias_row, outcome),
    QDBG_BIAS_DONE,    QDBG_BIAS_DONE};

/* ---- AdaRound ---- */

static qdbg_status round_weights(int which, const void *how, void **result)
{
    return qdbg_adaround_run(sims[which], &w->data, how, (qdbg_adaround **)result);
}

static uint32_t round_count(const void *r)
{
    return qdbg_adaround_count(r);
}

static qdbg_status round_row(const void *r, uint32_t i, void *row)
{
    qdbg_adaround_row_init(row);
    return qdbg_adaround_get(r, i, row);
}

static int32_t round_guard(const void *r, double *before, double *after)
{
    return qdbg_adaround_guard(r, before, after);
}

static qdbg_status round_undo(void *r)
{
    return qdbg_adaround_undo(r);
}

static void round_destroy(void *r)
{
    qdbg_adaround_destroy(r);
}

static const repair repair_round = {
    "AdaRound",         round_weights,     round_count,   round_row,
    round_guard,        round_undo,        round_destroy, offsetof(qdbg_adaround_row, outcome),
    QDBG_ADAROUND_DONE, QDBG_ADAROUND_DONE};

/* ---- comparing ---- */

/* All float32 parameters of a model in a row. */
static float *parameters(int which)
{
    size_t n = 0;
    for (uint32_t v = 0; v < w->engine->n_values; v++)
        n += w->engine->counts[v];
    float *all = malloc(n * sizeof *all + 1), *at = all;
    assert_non_null(all);
    for (uint32_t v = 0; v < w->engine->n_values; v++) {
        if (!w->engine->parameters[v])
            continue;
        ASSERT_OK(w, qdbg_model_get_parameter(model_at(which), v, at, w->engine->counts[v]));
        at += w->engine->counts[v];
    }
    return all;
}

static bool same_parameters(const float *a, const float *b)
{
    size_t n = 0;
    for (uint32_t v = 0; v < w->engine->n_values; v++)
        n += w->engine->counts[v];
    return memcmp(a, b, n * sizeof *a) == 0;
}

static void assert_same_models(const char *what)
{
    float *a = parameters(BUILT_IN), *b = parameters(HOST);
    if (!same_parameters(a, b))
        fail_msg("%s: the models' parameters differ", what);
    free(a);
    free(b);
}

static bool was_done(const repair *r, const void *result, uint32_t i, void *row)
{
    int32_t outcome;
    memset(row, 0, 256);
    ASSERT_OK(w, r->row(result, i, row));
    memcpy(&outcome, (const char *)row + r->outcome, sizeof outcome);
    return outcome >= r->first && outcome <= r->last;
}

/* The number of rows that something was done in. */
static uint32_t assert_same_rows(const repair *r, void *const results[BOTH])
{
    uint32_t n = r->count(results[BUILT_IN]), done = 0;
    uint64_t a[32], b[32];
    double scores[BOTH][2];
    assert_int_equal(n, r->count(results[HOST]));
    for (uint32_t i = 0; i < n; i++) {
        done += was_done(r, results[BUILT_IN], i, a);
        was_done(r, results[HOST], i, b);
        if (memcmp(a, b, sizeof a) != 0)
            fail_msg("%s: row %u differs", r->name, i);
    }
    for (int i = 0; i < BOTH; i++)
        r->guard(results[i], &scores[i][0], &scores[i][1]);
    assert_memory_equal(scores[BUILT_IN], scores[HOST], sizeof scores[HOST]);
    return done;
}

/* Do it on both, compare, and leave it; the results are to be undone. */
static uint32_t do_both(const repair *r, const void *how, void *results[BOTH])
{
    for (int i = 0; i < BOTH; i++)
        ASSERT_OK(w, r->run(i, how, &results[i]));
    uint32_t done = assert_same_rows(r, results);
    assert_same_models(r->name);
    return done;
}

static void undo_both(const repair *r, void *results[BOTH], float *const was[BOTH])
{
    for (int i = 0; i < BOTH; i++) {
        ASSERT_OK(w, r->undo(results[i]));
        float *now = parameters(i);
        if (!same_parameters(now, was[i]))
            fail_msg("%s: not all was undone", r->name);
        free(now);
        r->destroy(results[i]);
    }
}

static void remember(float *was[BOTH])
{
    for (int i = 0; i < BOTH; i++)
        was[i] = parameters(i);
}

static void forget(float *was[BOTH])
{
    for (int i = 0; i < BOTH; i++)
        free(was[i]);
}

/* Do and undo; `changes`: in some row something is done. */
static void check(const repair *r, const void *how, bool changes)
{
    float *was[BOTH];
    void *results[BOTH];
    remember(was);
    uint32_t done = do_both(r, how, results);
    if (changes && done == 0)
        fail_msg("%s: nothing was done", r->name);
    undo_both(r, results, was);
    forget(was);
}

/* ---- repairs ---- */

static qdbg_metric metric_of(int32_t kind)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    metric.kind = kind;
    return metric;
}

static void check_folds(void)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    check(&repair_fold, &o, true);
    o.flags = QDBG_FOLD_NEUTRALIZE;
    o.data = &w->data;
    check(&repair_fold, &o, true);
    o.guard_calibration = o.guard_dataset = &w->data;
    o.guard_metric = &metric;
    check(&repair_fold, &o, false);
}

/* Every formula; with a guard what comes of it is up to that. */
static void check_equalizations(void)
{
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    check(&repair_equalize, &o, true);
    o.formula = QDBG_EQUALIZE_ACTIVATIONS;
    o.calibration = &w->data;
    check(&repair_equalize, &o, true);
    o.formula = QDBG_EQUALIZE_BEST;
    o.guard_dataset = &w->data;
    o.guard_metric = &metric;
    check(&repair_equalize, &o, false);
}

static void check_absorption(const qdbg_channel_stats *stats, uint32_t n)
{
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    o.calibration = &w->data;
    check(&repair_absorb, &o, false);
    o.calibration = NULL;
    o.stats = stats;
    o.n_stats = n;
    o.deviations = 0.5;
    check(&repair_absorb, &o, false);
}

static void check_corrections(const qdbg_channel_stats *stats, uint32_t n)
{
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    check(&repair_bias, &o, true);
    o.flags = QDBG_BIAS_SEQUENTIAL;
    check(&repair_bias, &o, true);
    o.flags = QDBG_BIAS_SEQUENTIAL | QDBG_BIAS_ACTIVATIONS;
    check(&repair_bias, &o, true);
    o.kind = QDBG_BIAS_ANALYTICAL;
    o.flags = 0;
    o.stats = stats;
    o.n_stats = n;
    check(&repair_bias, &o, n > 0); /* folded, a normalization tells nothing */
    qdbg_reference *reference;      /* for both models: they have one graph */
    ASSERT_OK(w, qdbg_reference_create(w->built_in, &w->data, &reference));
    metric.reference = reference;
    o.guard_dataset = &w->data;
    o.guard_metric = &metric;
    check(&repair_bias, &o, false);
    qdbg_reference_destroy(reference);
}

static void check_rounding(void)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    o.positions = 8;
    check(&repair_round, &o, true);
    o.flags = QDBG_ADAROUND_ONE_PASS;
    check(&repair_round, &o, true);
}

/* Statistics that folding saw; their arrays live as long as `fold`. */
static uint32_t take_stats(const qdbg_fold *folded, qdbg_channel_stats *stats)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < qdbg_fold_count(folded); i++) {
        stats[n] = (qdbg_channel_stats)QDBG_CHANNEL_STATS_INIT;
        n += qdbg_fold_stats(folded, i, &stats[n]) == QDBG_OK;
    }
    return n;
}

/* One after the other, each on what those before it left, as a user goes about it. */
static void repairs_are_the_same(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    qdbg_fold_options fo = QDBG_FOLD_OPTIONS_INIT;
    qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_channel_stats stats[64];
    float *was[BOTH], *folded[BOTH];
    void *fold_results[BOTH], *results[BOTH];
    open_sims(4);
    check_folds();
    remember(was);
    fo.flags = QDBG_FOLD_NEUTRALIZE;
    assert_true(do_both(&repair_fold, &fo, fold_results) > 1);
    assert_true(qdbg_fold_count(fold_results[HOST]) <= 64);
    uint32_t n = take_stats(fold_results[HOST], stats);
    remember(folded);
    check_equalizations();
    check_absorption(stats, n);
    check_corrections(stats, n);
    assert_true(do_both(&repair_equalize, &eo, results) > 1);
    check_corrections(NULL, 0);
    check_rounding();
    undo_both(&repair_equalize, results, folded);
    undo_both(&repair_fold, fold_results, was);
    assert_true(engine_is_original(w->engine));
    forget(folded);
    forget(was);
    close_sims();
}

/* ---- guards ---- */

/* A metric that scores less each time it is asked. */
static int32_t see_nothing(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    (void)state;
    (void)in;
    return 0;
}

static int32_t less_each_time(void *user, const void *state, double *score)
{
    double *last = user;
    (void)state;
    *score = *last -= 1;
    return 0;
}

/* The guard's score falls: the outcome of no row is that something was done, and all is as before.
 */
static void check_falling(const repair *r, const void *how)
{
    float *was[BOTH];
    remember(was);
    for (int i = 0; i < BOTH; i++) {
        void *result;
        double before, after;
        uint64_t row[32];
        ASSERT_OK(w, r->run(i, how, &result));
        assert_int_equal(r->guard(result, &before, &after), 1);
        assert_true(after < before);
        for (uint32_t k = 0; k < r->count(result); k++)
            assert_false(was_done(r, result, k, row));
        float *now = parameters(i);
        if (!same_parameters(now, was[i]))
            fail_msg("%s: the guard did not undo all", r->name);
        free(now);
        ASSERT_OK(w, r->undo(result)); /* nothing is left to do */
        r->destroy(result);
    }
    assert_same_models(r->name);
    forget(was);
}

static void falling_scores_undo_everything(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    double last = 0;
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_fold_options fo = QDBG_FOLD_OPTIONS_INIT;
    qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_bias_options bo = QDBG_BIAS_OPTIONS_INIT;
    qdbg_adaround_options ro = QDBG_ADAROUND_OPTIONS_INIT;
    metric.update = see_nothing;
    metric.result = less_each_time;
    metric.user = &last;
    metric.state_size = 1;
    fo.guard_metric = eo.guard_metric = ao.guard_metric = bo.guard_metric = ro.guard_metric =
        &metric;
    fo.guard_dataset = eo.guard_dataset = ao.guard_dataset = bo.guard_dataset = ro.guard_dataset =
        &w->data;
    ro.positions = 4;
    eo.calibration = ao.calibration = &w->data;
    open_sims(4);
    check_falling(&repair_fold, &fo);
    ASSERT_OK(w, qdbg_fold_batch_norms(w->built_in, NULL));
    ASSERT_OK(w, qdbg_fold_batch_norms(w->host, NULL));
    check_falling(&repair_equalize, &eo);
    check_falling(&repair_absorb, &ao);
    check_falling(&repair_bias, &bo);
    check_falling(&repair_round, &ro);
    close_sims();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repairs_are_the_same),
        cmocka_unit_test(falling_scores_undo_everything),
    };
    world_demo_path = argc > 1 ? argv[1] : NULL;
    int failed = cmocka_run_group_tests_name("small", tests, open_small, close_network);
    failed += cmocka_run_group_tests_name("demo", tests, open_demo, close_network);
    return failed + cmocka_run_group_tests_name("kws", tests, open_kws, close_network);
}
