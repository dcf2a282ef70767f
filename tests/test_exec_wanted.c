/* A job that only observes stops behind the last value that is wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

typedef struct seen {
    uint32_t n[16][2];
    float first[16][2];
} seen;

static qdbg_status note(void *user, uint32_t worker, uint32_t variant, uint64_t run, uint32_t value,
                        const qdbg_view *view)
{
    seen *s = user;
    (void)worker;
    (void)run;
    assert_true(value < 16 && variant < 2);
    s->n[value][variant]++;
    s->first[value][variant] = *(const float *)view->data;
    return QDBG_OK;
}

/* x [1,2] -> Mul by "m" "a" -> Add "m" "b"; and Gather "y" by Cast of b, which fails for 10. */
static qdbg_graph *net(qdbg_ctx *ctx, uint32_t *m, uint32_t *a, uint32_t *b)
{
    static const float two[] = {2, 2};
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t node, x = make_input(g, "x", DIMS(1, 2));
    *m = make_param(g, "m", DIMS(2), two);
    *a = make_node(g, "Mul", "a", VALUES(x, *m), NULL);
    *b = make_node(g, "Add", "b", VALUES(*a, *m), NULL);
    uint32_t i = make_node(g, "Cast", "i", b, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "to", QDBG_I64));
    make_finish(g, make_node(g, "Gather", "y", VALUES(*m, i), NULL));
    return g;
}

static void what_lies_behind_is_not_computed(void **state)
{
    static const float x[] = {4, 4}, three[] = {3, 3};
    qdbg_ctx *ctx = make_ctx(1);
    uint32_t m, a, b;
    qdbg_graph *g = net(ctx, &m, &a, &b);
    qdbg__exec *exec;
    qdbg_view in = make_view(DIMS(1, 2), x);
    const float *params[16] = {NULL};
    uint8_t wanted[16] = {0};
    seen s = {{{0}}, {{0}}};
    (void)state;
    assert_ok(qdbg__exec_create(g, &in, &exec));
    params[m] = three;
    qdbg__variant variants[2] = {{NULL, NULL}, {NULL, params}};
    qdbg__exec_job job = {.inputs = &in,
                          .n_runs = 1,
                          .variants = variants,
                          .n_variants = 2,
                          .observe = note,
                          .observe_user = &s};
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_E_INVALID); /* all the way: Gather fails */
    memset(&s, 0, sizeof s);
    job.wanted = wanted;
    wanted[a] = 1;
    assert_ok(qdbg__exec_run(exec, &job));
    assert_true(s.n[a][0] == 1 && s.n[a][1] == 1 && s.n[b][0] == 0);
    assert_true(s.first[a][0] == 8 && s.first[a][1] == 12);
    wanted[b] = 1;
    assert_ok(qdbg__exec_run(exec, &job));
    assert_true(s.n[b][0] == 1 && s.n[b][1] == 1);
    assert_true(s.first[b][0] == 10 && s.first[b][1] == 15);
    memset(wanted, 0, sizeof wanted);
    wanted[qdbg_graph_input(g, 0)] = 1; /* no step at all */
    assert_ok(qdbg__exec_run(exec, &job));
    assert_true(s.n[a][0] == 2 && s.first[qdbg_graph_input(g, 0)][0] == 4);
    void *outputs[2] = {NULL, NULL};
    job.outputs = outputs; /* results may be wanted: no stopping */
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_E_INVALID);
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_lies_behind_is_not_computed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
