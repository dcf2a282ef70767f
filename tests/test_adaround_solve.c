/* The solvers behind qdbg_adaround_run (lib/analysis/adaround_solve.h) beside brute force, and the
 * pieces of the relaxation beside the paper's own numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/analysis/adaround_soft.h"
#include "../lib/analysis/adaround_tabu.h"
#include "graph_make.h"
#include "support.h"

#define MAX_DEPTH 40
#define MAX_ROWS 40

/* A problem with its arrays. */
typedef struct problem {
    qdbg__rounding p;
    float w[MAX_ROWS * MAX_DEPTH];
    qdbg__step steps[MAX_ROWS * MAX_DEPTH];
    double h[MAX_DEPTH * MAX_DEPTH], b[MAX_ROWS * MAX_DEPTH], factor[MAX_DEPTH * MAX_DEPTH];
    uint32_t order[MAX_DEPTH];
    double ridge[1];
    int32_t q[MAX_ROWS * MAX_DEPTH];
} problem;

/* H = A^T A / n of `n` random columns, which share a direction so that H is far from diagonal. */
static void random_form(problem *x, uint32_t d, uint32_t n, uint64_t *seed)
{
    memset(x->h, 0, sizeof x->h);
    for (uint32_t c = 0; c < n; c++) {
        double column[MAX_DEPTH], common = (double)make_float(seed, -2, 2);
        for (uint32_t k = 0; k < d; k++)
            column[k] = common + (double)make_float(seed, -1, 1) * (1 + k % 3);
        for (uint32_t i = 0; i < d * d; i++)
            x->h[i] += column[i / d] * column[i % d] / n;
    }
}

static void make_problem(problem *x, uint32_t rows, uint32_t d, bool mixed, uint64_t *seed)
{
    x->p = (qdbg__rounding){
        1, rows, d, x->w, x->steps, x->h, mixed ? x->b : NULL, x->factor, x->order, x->ridge, x->q};
    random_form(x, d, 3 * d, seed);
    for (uint32_t i = 0; i < rows * d; i++) {
        x->w[i] = make_float(seed, -1, 1);
        x->steps[i] = (qdbg__step){0.25f, -4, 3};
        x->b[i] = (double)make_float(seed, -0.2f, 0.2f);
        x->q[i] = (int32_t)qdbg__clamp(rint((double)x->w[i] / 0.25), -4, 3);
    }
    qdbg__rounding_damp(&x->p, 0.01);
}

static double loss_of(const problem *x, uint32_t row, const int32_t *q)
{
    uint32_t d = x->p.depth;
    double e[MAX_DEPTH], loss = 0;
    for (uint32_t k = 0; k < d; k++) {
        size_t at = (size_t)row * d + k;
        e[k] = (double)q[k] * (double)x->steps[at].scale - (double)x->w[at];
    }
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t k = 0; k < d; k++)
            loss += e[i] * x->h[i * d + k] * e[k];
        loss -= x->p.b ? 2 * e[i] * x->b[(size_t)row * d + i] : 0;
    }
    return loss;
}

/* The least loss of a row over all grid points, or over each weight's two neighbours. */
static double brute_force(const problem *x, uint32_t row, bool neighbours)
{
    uint32_t d = x->p.depth;
    int32_t q[MAX_DEPTH], low[MAX_DEPTH], n[MAX_DEPTH];
    double best = (double)INFINITY;
    uint64_t total = 1;
    for (uint32_t k = 0; k < d; k++) {
        double at = (double)x->w[row * d + k] / 0.25;
        low[k] = neighbours ? (int32_t)qdbg__clamp(floor(at), -4, 3) : -4;
        n[k] = neighbours ? (int32_t)qdbg__clamp(ceil(at), -4, 3) - low[k] + 1 : 8;
        total *= (uint64_t)n[k];
    }
    for (uint64_t i = 0; i < total; i++) {
        uint64_t rest = i;
        for (uint32_t k = 0; k < d; k++) {
            q[k] = low[k] + (int32_t)(rest % (uint64_t)n[k]);
            rest /= (uint64_t)n[k];
        }
        best = fmin(best, loss_of(x, row, q));
    }
    return best;
}

static void short_rows_are_solved_exactly(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(2);
    uint64_t seed = 3;
    (void)state;
    for (uint32_t d = 1; d <= 5; d++) {
        make_problem(&x, 6, d, d % 2 == 0, &seed);
        assert_ok(qdbg__rounding_factor(ctx, &x.p));
        assert_ok(qdbg__solve_sequential(ctx, &x.p));
        for (uint32_t r = 0; r < 6; r++) {
            double got = loss_of(&x, r, x.q + r * d), want = brute_force(&x, r, false);
            assert_true(fabs(got - want) <= 1e-9 * (1 + fabs(want)));
        }
    }
    qdbg_ctx_destroy(ctx);
}

/* 2^9 corners and 8^9 grid points: the exact solution is at least as good as the best corner. */
static void nine_weights_beat_the_best_corner(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 5;
    (void)state;
    make_problem(&x, 8, QDBG__EXACT_DEPTH, true, &seed);
    assert_ok(qdbg__rounding_factor(ctx, &x.p));
    assert_ok(qdbg__solve_sequential(ctx, &x.p));
    for (uint32_t r = 0; r < 8; r++)
        assert_true(loss_of(&x, r, x.q + r * 9) <= brute_force(&x, r, true) + 1e-9);
    qdbg_ctx_destroy(ctx);
}

static void sequential_is_close_to_the_best_corner(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 7;
    double nearest = 0, got = 0, best = 0;
    (void)state;
    make_problem(&x, 8, 14, true, &seed);
    for (uint32_t r = 0; r < 8; r++)
        nearest += loss_of(&x, r, x.q + r * 14);
    assert_ok(qdbg__rounding_factor(ctx, &x.p));
    assert_ok(qdbg__solve_sequential(ctx, &x.p));
    for (uint32_t r = 0; r < 8; r++) {
        got += loss_of(&x, r, x.q + r * 14);
        best += brute_force(&x, r, true);
    }
    assert_true(got < nearest && got <= best + 0.02 * (nearest - best));
    qdbg_ctx_destroy(ctx);
}

/* The factor is that of the damped form in ascending order of its diagonal. */
static void factor_times_its_transpose_is_the_form(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 9;
    (void)state;
    make_problem(&x, 1, 33, false, &seed);
    assert_ok(qdbg__rounding_factor(ctx, &x.p));
    for (uint32_t i = 0; i < 33; i++)
        for (uint32_t j = 0; j <= i; j++) {
            double sum = 0, want = x.h[x.order[i] * 33 + x.order[j]];
            for (uint32_t k = 0; k <= j; k++)
                sum += x.factor[i * 33 + k] * x.factor[j * 33 + k];
            assert_true(fabs(sum - want) <= 1e-10 * (1 + fabs(want)));
        }
    for (uint32_t i = 1; i < 33; i++)
        assert_true(x.h[x.order[i - 1] * 34] <= x.h[x.order[i] * 34]);
    qdbg_ctx_destroy(ctx);
}

/* A wide factor crosses the panels of the blocked algorithm. */
static void a_large_factor_is_right(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint32_t d = 150;
    uint64_t seed = 10;
    double *h = calloc((size_t)d * d, sizeof *h), *f = calloc((size_t)d * d, sizeof *f), ridge = 1;
    uint32_t *order = calloc(d, sizeof *order);
    (void)state;
    for (uint32_t n = 0; n < 2 * d; n++) {
        double column[150];
        for (uint32_t k = 0; k < d; k++)
            column[k] = (double)make_float(&seed, -1, 1);
        for (uint32_t i = 0; i < d * d; i++)
            h[i] += column[i / d] * column[i % d];
    }
    for (uint32_t i = 0; i < d; i++)
        h[i * d + i] += 1;
    qdbg__rounding p = {
        .groups = 1, .rows = 1, .depth = d, .h = h, .factor = f, .order = order, .ridge = &ridge};
    assert_ok(qdbg__rounding_factor(ctx, &p));
    for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j <= i; j++) {
            double sum = 0, want = h[order[i] * d + order[j]];
            for (uint32_t k = 0; k <= j; k++)
                sum += f[i * d + k] * f[j * d + k];
            assert_true(fabs(sum - want) < 1e-9);
        }
    free(order);
    free(f);
    free(h);
    qdbg_ctx_destroy(ctx);
}

static void single_changes_end_where_none_helps(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 11;
    (void)state;
    for (int neighbours = 0; neighbours < 2; neighbours++) {
        make_problem(&x, 5, 24, true, &seed);
        assert_ok(qdbg__solve_single(ctx, &x.p, neighbours));
        for (uint32_t r = 0; r < 5; r++) {
            int32_t *q = x.q + r * 24;
            double loss = loss_of(&x, r, q);
            for (uint32_t k = 0; k < 24; k++)
                for (int32_t step = -1; step <= 1; step += 2) {
                    double at = (double)x.w[r * 24 + k] / 0.25;
                    bool open = q[k] + step >= -4 && q[k] + step <= 3 &&
                                (!neighbours || fabs(q[k] + step - at) < 1);
                    q[k] += step;
                    assert_true(!open || loss_of(&x, r, q) >= loss - 1e-9);
                    q[k] -= step;
                }
            for (uint32_t k = 0; k < 24 && neighbours; k++)
                assert_true(fabs(q[k] - qdbg__clamp((double)x.w[r * 24 + k] / 0.25, -4, 3)) < 1);
        }
    }
    qdbg_ctx_destroy(ctx);
}

static void tabu_search_never_makes_things_worse(void **state)
{
    static problem x;
    static double scratch[4096], g[MAX_DEPTH];
    uint64_t seed = 13;
    uint32_t better = 0;
    (void)state;
    for (int round = 0; round < 20; round++) {
        make_problem(&x, 1, 30, true, &seed);
        double before = loss_of(&x, 0, x.q);
        for (uint32_t i = 0; i < 30; i++) {
            g[i] = -x.b[i];
            for (uint32_t k = 0; k < 30; k++)
                g[i] += x.h[i * 30 + k] * ((double)x.q[k] * 0.25 - (double)x.w[k]);
        }
        assert_true(qdbg__tabu_scratch(30) <= 4096);
        qdbg__tabu_row(x.steps, x.h, 30, x.q, g, scratch);
        double after = loss_of(&x, 0, x.q);
        assert_true(after <= before + 1e-9);
        better += after < before;
        for (uint32_t k = 0; k < 30; k++)
            assert_true(x.q[k] >= -4 && x.q[k] <= 3);
    }
    assert_true(better > 15);
}

static void a_blank_row_stays_blank(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 15;
    (void)state;
    make_problem(&x, 3, 20, true, &seed);
    for (uint32_t k = 0; k < 20; k++) {
        x.w[20 + k] = 0;
        x.steps[20 + k].scale = 1.17549435e-38f;
    }
    assert_ok(qdbg__rounding_factor(ctx, &x.p));
    assert_ok(qdbg__solve_sequential(ctx, &x.p));
    for (uint32_t k = 0; k < 20; k++)
        assert_int_equal(x.q[20 + k], 0);
    qdbg_ctx_destroy(ctx);
}

/* Without signal every rounding is as good: nearest it is. */
static void no_signal_means_nearest(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 17;
    int32_t nearest[60];
    (void)state;
    make_problem(&x, 3, 20, false, &seed);
    memcpy(nearest, x.q, sizeof nearest);
    memset(x.h, 0, sizeof x.h);
    qdbg__rounding_damp(&x.p, 0.01);
    assert_ok(qdbg__rounding_factor(ctx, &x.p));
    assert_ok(qdbg__solve_sequential(ctx, &x.p));
    assert_memory_equal(nearest, x.q, sizeof nearest);
    qdbg_ctx_destroy(ctx);
}

static void results_do_not_depend_on_threads(void **state)
{
    static problem x;
    int32_t q[2][MAX_ROWS * MAX_DEPTH];
    qdbg__relax_options o = {200, 0.01, 0.01};
    (void)state;
    for (int relaxed = 0; relaxed < 2; relaxed++) {
        for (uint32_t t = 0; t < 2; t++) {
            qdbg_ctx *ctx = make_ctx(1 + 3 * t);
            uint64_t seed = 19;
            make_problem(&x, MAX_ROWS, MAX_DEPTH, true, &seed);
            assert_ok(qdbg__rounding_factor(ctx, &x.p));
            assert_ok(relaxed ? qdbg__solve_relaxed(ctx, &x.p, &o)
                              : qdbg__solve_sequential(ctx, &x.p));
            memcpy(q[t], x.q, sizeof x.q);
            qdbg_ctx_destroy(ctx);
        }
        assert_memory_equal(q[0], q[1], sizeof q[0]);
    }
}

/* d loss / d scale is zero at the refitted scale. */
static void refitted_scale_is_the_best(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 21;
    double scales[4];
    (void)state;
    make_problem(&x, 4, 16, true, &seed);
    assert_ok(qdbg__refit_scales(ctx, &x.p, scales));
    for (uint32_t r = 0; r < 4; r++) {
        double losses[3];
        for (int i = 0; i < 3; i++) {
            for (uint32_t k = 0; k < 16; k++)
                x.steps[r * 16 + k].scale = (float)(scales[r] * (0.99 + 0.01 * i));
            losses[i] = loss_of(&x, r, x.q + r * 16);
        }
        assert_true(losses[1] < losses[0] && losses[1] < losses[2]);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- the relaxation ---- */

static void relaxed_rounding_is_near_the_best_corner(void **state)
{
    static problem x;
    qdbg_ctx *ctx = make_ctx(1);
    uint64_t seed = 23;
    double nearest = 0, got = 0, best = 0;
    qdbg__relax_options o = {2000, 0.01, 0.01};
    (void)state;
    make_problem(&x, 8, 12, true, &seed);
    for (uint32_t r = 0; r < 8; r++)
        nearest += loss_of(&x, r, x.q + r * 12);
    assert_ok(qdbg__solve_relaxed(ctx, &x.p, &o));
    assert_ok(qdbg__solve_single(ctx, &x.p, true));
    for (uint32_t r = 0; r < 8; r++) {
        got += loss_of(&x, r, x.q + r * 12);
        best += brute_force(&x, r, true);
        for (uint32_t k = 0; k < 12; k++)
            assert_true(fabs(x.q[r * 12 + k] - qdbg__clamp((double)x.w[r * 12 + k] / 0.25, -4, 3)) <
                        1);
    }
    assert_true(got <= best + 0.25 * (nearest - best));
    qdbg_ctx_destroy(ctx);
}

static void assert_near(double got, double want)
{
    if (fabs(got - want) > 1e-8 * (1 + fabs(want)))
        fail_msg("%.12g instead of %.12g", got, want);
}

/* Fact G25. */
static void pieces_are_those_of_the_paper(void **state)
{
    static const double alphas[][2] = {{0, -2.397895273}, {.1, -1.609437912}, {.25, -.887303195},
                                       {.5, 0},           {.75, .887303195},  {.9, 1.609437912}};
    static const double betas[][2] = {{2000, 20}, {4000, 17.36396103}, {5000, 14.44415089},
                                      {6000, 11}, {8000, 4.63603897},  {10000, 2}};
    static const double terms[][3] = {{.25, 20, .9999990463}, {.25, 11, .9995117188}, {.25, 2, .75},
                                      {.9, 20, .9884707850},  {.9, 11, .9141006541},  {.9, 2, .36}};
    (void)state;
    for (int i = 0; i < 6; i++) {
        assert_near(qdbg__relax_alpha(alphas[i][0]), alphas[i][1]);
        assert_near(qdbg__relax_h(alphas[i][1]), alphas[i][0]);
        assert_near(qdbg__relax_beta((uint32_t)betas[i][0], 10000), betas[i][1]);
        assert_near(qdbg__relax_term(terms[i][0], terms[i][1]), terms[i][2]);
    }
    assert_near(qdbg__relax_beta(8000, 10000), 4.636038969321072); /* fact G17 */
}

/* MT19937 as numpy.random.seed(0); rand() gives 53-bit doubles. */
typedef struct twister {
    uint32_t state[624];
    int at;
} twister;

static uint32_t twist(twister *t)
{
    if (t->at == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (t->state[i] & 0x80000000u) | (t->state[(i + 1) % 624] & 0x7fffffffu);
            t->state[i] = t->state[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        t->at = 0;
    }
    uint32_t y = t->state[t->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static double draw(twister *t)
{
    uint32_t a = twist(t) >> 5, b = twist(t) >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
}

/* Fact G17b: AIMET's test of the rounding loss, seed 0, alpha = rand(1, 3, 12, 12). */
static void the_rounding_loss_is_that_of_the_fact(void **state)
{
    twister t = {.state = {0}, .at = 624};
    double sum = 0, beta = qdbg__relax_beta(8000, 10000);
    (void)state;
    for (uint32_t i = 1; i < 624; i++)
        t.state[i] = 1812433253u * (t.state[i - 1] ^ (t.state[i - 1] >> 30)) + i;
    for (int i = 0; i < 3 * 12 * 12; i++)
        sum += qdbg__relax_term(qdbg__relax_h(draw(&t)), beta);
    assert_near(0.01 * sum, 4.266156963161077);
}

/* Fact G17: in the first fifth the loss has no regularizer; then it sends weights to either end. */
static void the_regularizer_starts_late(void **state)
{
    float alpha[2] = {-0.5f, 0.5f}, m[2] = {0}, v[2] = {0}, gradient[2] = {0};
    qdbg__relax_options o = {50, 0.01, 0.01};
    qdbg__soft x = {.alpha = alpha, .m = m, .v = v, .n = 1, .d = 2, .options = &o};
    (void)state;
    for (uint32_t it = 0; it < 50; it++) {
        memset(gradient, 0, sizeof gradient);
        qdbg__soft_step(&x, gradient, it);
        if (it < 10)
            assert_true(alpha[0] == -0.5f && alpha[1] == 0.5f);
    }
    assert_true(alpha[0] < -0.6f && alpha[1] > 0.6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_rows_are_solved_exactly),
        cmocka_unit_test(nine_weights_beat_the_best_corner),
        cmocka_unit_test(sequential_is_close_to_the_best_corner),
        cmocka_unit_test(factor_times_its_transpose_is_the_form),
        cmocka_unit_test(a_large_factor_is_right),
        cmocka_unit_test(single_changes_end_where_none_helps),
        cmocka_unit_test(tabu_search_never_makes_things_worse),
        cmocka_unit_test(a_blank_row_stays_blank),
        cmocka_unit_test(no_signal_means_nearest),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(refitted_scale_is_the_best),
        cmocka_unit_test(relaxed_rounding_is_near_the_best_corner),
        cmocka_unit_test(pieces_are_those_of_the_paper),
        cmocka_unit_test(the_rounding_loss_is_that_of_the_fact),
        cmocka_unit_test(the_regularizer_starts_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
