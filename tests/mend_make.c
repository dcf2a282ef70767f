#include "mend_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"

uint32_t make_norm(qdbg_graph *g, const char *name, uint32_t x, int64_t channels, const float *var,
                   uint64_t *seed)
{
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    uint32_t in[5] = {x}, node;
    for (int i = 0; i < 4; i++) {
        float data[64];
        char part[32];
        snprintf(part, sizeof part, "%s.%s", name, parts[i]);
        for (int64_t c = 0; c < channels; c++)
            data[c] = i < 3 ? make_float(seed, -1, 1) : var ? var[c] : make_float(seed, 0.1f, 3);
        in[i + 1] = make_param(g, part, DIMS(channels), data);
    }
    uint32_t y = make_node(g, "BatchNormalization", name, in, 5, &node);
    assert_ok(qdbg_graph_set_float(g, node, "epsilon", MEND_EPSILON));
    return y;
}

outputs outputs_take(qdbg_model *m, const samples *s)
{
    const qdbg_graph *g = qdbg_model_graph(m);
    qdbg_view x = samples_view(g, s), y[2] = {QDBG_VIEW_INIT, QDBG_VIEW_INIT};
    uint32_t n = qdbg_graph_output_count(g);
    assert_true(n <= 2);
    assert_ok(qdbg_model_run(m, &x, 1, y, n));
    for (uint32_t i = 0; i < n; i++)
        y[i].data = malloc((size_t)qdbg_view_count(&y[i]) * sizeof(float));
    assert_ok(qdbg_model_run(m, &x, 1, y, n));
    for (uint32_t i = 0; i + 1 < n; i++)
        free(y[i].data);
    return (outputs){y[n - 1].data, (size_t)qdbg_view_count(&y[n - 1])};
}

double outputs_difference(const outputs *a, const outputs *b)
{
    double difference = 0, largest = 0;
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_true(isfinite(a->y[i]) && isfinite(b->y[i]));
        difference = fmax(difference, fabs((double)a->y[i] - (double)b->y[i]));
        largest = fmax(largest, fabs((double)a->y[i]));
    }
    assert_true(largest > 0);
    return difference / largest;
}

void outputs_free(outputs *o)
{
    free(o->y);
}

saved params_save(qdbg_model *m)
{
    const qdbg_graph *g = qdbg_model_graph(m);
    saved s = {.n = qdbg_graph_value_count(g)};
    s.of = calloc(s.n, sizeof *s.of);
    s.counts = calloc(s.n, sizeof *s.counts);
    for (uint32_t v = 0; v < s.n; v++) {
        qdbg_view view = QDBG_VIEW_INIT;
        if (qdbg_graph_parameter(g, v, &view) != QDBG_OK || view.dtype != QDBG_F32)
            continue;
        s.counts[v] = qdbg_view_count(&view);
        s.of[v] = malloc((size_t)s.counts[v] * sizeof(float) + 1);
        assert_ok(qdbg_model_get_parameter(m, v, s.of[v], s.counts[v]));
    }
    return s;
}

bool params_same(qdbg_model *m, const saved *was)
{
    saved now = params_save(m);
    bool same = true;
    for (uint32_t v = 0; v < now.n; v++)
        if (now.of[v])
            same =
                same && memcmp(now.of[v], was->of[v], (size_t)now.counts[v] * sizeof(float)) == 0;
    params_free(&now);
    return same;
}

void params_free(saved *s)
{
    for (uint32_t v = 0; v < s->n; v++)
        free(s->of[v]);
    free(s->of);
    free(s->counts);
}
