/* Observers, range methods and blocks without memory. */
#include <stdlib.h>

#include "../range_data.h"
#include "oom.h"

#define N 200

static float data[N];

static uint64_t hash_of_range(qdbg_observer *o, int32_t method, qdbg_status *status)
{
    qdbg_quant_spec spec = spec_of(4, QDBG_ASYMMETRIC);
    qdbg_range_options r = method_of(method);
    float range[2] = {0, 0};
    *status = qdbg_observer_range(o, 0, &r, &spec, &range[0], &range[1]);
    return hash_of(range, sizeof range);
}

/* Create, observe, merge, choose: what a program does with an observer. */
static qdbg_status observe(world *w)
{
    qdbg_observer_options o = QDBG_OBSERVER_OPTIONS_INIT;
    qdbg_observer *a = NULL, *b = NULL;
    uint64_t hash = 0;
    o.collect =
        QDBG_OBSERVE_MOMENTS | QDBG_OBSERVE_HISTOGRAM | QDBG_OBSERVE_ROWS | QDBG_OBSERVE_AVERAGE;
    fill_shape(LAPLACE, data, N);
    qdbg_status status = qdbg_observer_create(w->ctx, &o, &a);
    if (status == QDBG_OK)
        status = qdbg_observer_create(w->ctx, &o, &b);
    if (status == QDBG_OK)
        status = qdbg_observer_observe(b, data, N / 10, 10);
    if (status == QDBG_OK)
        status = qdbg_observer_merge(a, b);
    for (int32_t m = 0; m <= QDBG_RANGE_MOVING_AVERAGE && status == QDBG_OK; m++)
        hash = hash * 31 + hash_of_range(a, m, &status);
    qdbg_observer_destroy(b);
    qdbg_observer_destroy(a);
    if (status == QDBG_OK)
        w->hash = hash;
    return status;
}

static qdbg_status of_values(world *w)
{
    qdbg_quant_spec spec = spec_of(4, QDBG_SYMMETRIC);
    uint64_t hash = 0;
    fill_shape(LAPLACE, data, N);
    for (int32_t m = 0; m <= QDBG_RANGE_MOVING_AVERAGE; m++) {
        qdbg_range_options r = method_of(m);
        float range[2];
        qdbg_status status = qdbg_range_of_values(w->ctx, data, N, &r, &spec, &range[0], &range[1]);
        if (status != QDBG_OK)
            return status;
        hash = hash * 31 + hash_of(range, sizeof range);
    }
    w->hash = hash;
    return QDBG_OK;
}

/* Of all encodings. */
static uint64_t hash_of_sim(world *w)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w->sim); i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(w->sim, i, &info));
        for (uint32_t c = 0; c < info.n_encodings; c++) {
            qdbg_encoding e = QDBG_ENCODING_INIT;
            assert_ok(qdbg_sim_encoding(w->sim, i, c, &e));
            hash = hash * 31 + hash_of(&e, sizeof e);
        }
    }
    return hash;
}

static qdbg_status calibrate(world *w)
{
    qdbg_status status = qdbg_sim_calibrate(w->sim, &w->s.set);
    if (status == QDBG_OK)
        w->hash = hash_of_sim(w);
    return status;
}

static uint64_t hash_before;

static void remember(world *w)
{
    with_calibrated(w);
    hash_before = hash_of_sim(w);
}

static void encodings_stand(world *w)
{
    assert_true(hash_of_sim(w) == hash_before);
}

static void with_methods(world *w)
{
    qdbg_range_options o = method_of(QDBG_RANGE_MSE);
    with_calibrated(w);
    assert_ok(qdbg_sim_set_range_method(w->sim, 0, &o));
    o = method_of(QDBG_RANGE_CROSS_ENTROPY);
    assert_ok(
        qdbg_sim_set_quantizer_range_method(w->sim, qdbg_sim_quantizer_count(w->sim) - 1, &o));
    hash_before = hash_of_sim(w);
}

static qdbg_status set_method(world *w)
{
    qdbg_range_options o = method_of(QDBG_RANGE_MSE);
    qdbg_status status = qdbg_sim_set_range_method(w->sim, QDBG_WEIGHT, &o);
    if (status == QDBG_OK)
        w->hash = hash_of_sim(w);
    return status;
}

static qdbg_status set_blocks(world *w)
{
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    uint32_t i = 0;
    do
        assert_ok(qdbg_sim_quantizer(w->sim, i, &info));
    while (info.kind != QDBG_WEIGHT && ++i);
    info.spec.granularity = QDBG_PER_BLOCK;
    info.spec.axis = 0;
    info.spec.block_size = 2;
    info.spec.block_scale_bits = 4;
    qdbg_status status = qdbg_sim_set_spec(w->sim, i, &info.spec);
    if (status == QDBG_OK)
        w->hash = hash_of_sim(w);
    return status;
}

static qdbg_status statistics(world *w)
{
    qdbg_statistics s = QDBG_STATISTICS_INIT;
    qdbg_histogram h = QDBG_HISTOGRAM_INIT;
    static uint64_t counts[QDBG_HISTOGRAM_BINS];
    uint32_t i = 0;
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    do
        assert_ok(qdbg_sim_quantizer(w->sim, i, &info));
    while (info.kind != QDBG_WEIGHT && ++i);
    qdbg_status status = qdbg_sim_statistics(w->sim, i, 0, &s);
    if (status == QDBG_OK)
        status = qdbg_sim_histogram(w->sim, i, 0, &h, counts);
    if (status == QDBG_OK)
        w->hash = hash_of(counts, sizeof counts);
    return status;
}

static void ranges(void **state)
{
    static const scenario all[] = {
        {"observer", with_nothing, observe, NULL, NULL, false},
        {"range of values", with_nothing, of_values, NULL, NULL, false},
        {"calibrate by methods", with_methods, calibrate, NULL, encodings_stand, false},
        {"range method", remember, set_method, NULL, encodings_stand, false},
        {"blocks", remember, set_blocks, NULL, encodings_stand, false},
        {"statistics", with_sim, statistics, NULL, NULL, false},
    };
    (void)state;
    RUN_ALL(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
