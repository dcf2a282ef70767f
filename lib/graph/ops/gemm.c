/* Gemm and MatMul. */
#include "ops.h"
#include "sgemm.h"
#include "window.h"

#include <string.h>

/* ---- Gemm: y = alpha * a' * b' + beta * c ---- */

typedef struct gemm {
    int64_t m, n, k;
    int64_t c_row, c_column; /* steps of c; 0 where it is broadcast */
    float alpha, beta;
    bool trans_a, trans_b, has_c;
} gemm;

static qdbg_status check_c(qdbg__infer *x, const qdbg_view *c, gemm *g)
{
    char shape[128];
    int64_t rows = c->rank > 1 ? c->dims[0] : 1;
    int64_t columns = c->rank > 0 ? c->dims[c->rank - 1] : 1;
    if (c->rank > 2 || (rows != 1 && rows != g->m) || (columns != 1 && columns != g->n))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "C %s cannot be broadcast to [%lld,%lld]",
                                qdbg__shape_text(c->rank, c->dims, shape, sizeof shape),
                                (long long)g->m, (long long)g->n);
    g->has_c = true;
    g->c_row = rows == 1 ? 0 : columns;
    g->c_column = columns == 1 ? 0 : 1;
    return QDBG_OK;
}

static qdbg_status gemm_infer(qdbg__infer *x)
{
    gemm *g = x->params;
    const qdbg_view *a = x->in[0], *b = x->in[1], *c = qdbg__infer_in(x, 2);
    uint64_t count;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status != QDBG_OK)
        return status;
    if (a->rank != 2 || b->rank != 2)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "A has rank %u and B rank %u instead of 2",
                                a->rank, b->rank);
    g->trans_a = qdbg__attr_int(x->node, "transA", 0) != 0;
    g->trans_b = qdbg__attr_int(x->node, "transB", 0) != 0;
    g->alpha = qdbg__attr_float(x->node, "alpha", 1.0f);
    g->beta = qdbg__attr_float(x->node, "beta", 1.0f);
    g->m = a->dims[g->trans_a];
    g->k = a->dims[!g->trans_a];
    g->n = b->dims[!g->trans_b];
    if (b->dims[g->trans_b] != g->k)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "A has %lld columns, B %lld rows", (long long)g->k,
                                (long long)b->dims[g->trans_b]);
    int64_t dims[] = {g->m, g->n};
    if (g->m > QDBG__SGEMM_MAX || g->n > QDBG__SGEMM_MAX || g->k > QDBG__SGEMM_MAX ||
        !qdbg__shape_count(2, dims, &count))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "a matrix is too large");
    status = c ? check_c(x, c, g) : QDBG_OK;
    if (status == QDBG_OK)
        qdbg__infer_out(x, 0, QDBG_F32, 2, dims);
    return status;
}

static void spread(const gemm *g, const float *c, float *y)
{
    for (int64_t i = 0; i < g->m; i++) {
        const float *row = c + i * g->c_row;
        for (int64_t j = 0; j < g->n; j++)
            y[i * g->n + j] = row[j * g->c_column];
    }
}

static qdbg_status gemm_run(const qdbg__run *r)
{
    const gemm *g = r->params;
    float *y = r->out[0]->data, beta = 0.0f;
    if (g->has_c && g->beta != 0.0f) {
        spread(g, r->in[2]->data, y);
        beta = g->beta;
    }
    qdbg__matrix a = {r->in[0]->data, g->trans_a ? g->m : g->k, g->trans_a};
    qdbg__matrix b = {r->in[1]->data, g->trans_b ? g->k : g->n, g->trans_b};
    qdbg__sgemm(g->m, g->n, g->k, g->alpha, a, b, beta, y, g->n);
    return QDBG_OK;
}

/* ---- MatMul: NumPy's rules ---- */

typedef struct matmul {
    int64_t m, n, k;
    uint32_t rank; /* of the batch */
    int64_t dims[QDBG_MAX_RANK];
    int64_t a_step[QDBG_MAX_RANK], b_step[QDBG_MAX_RANK]; /* 0 where broadcast */
} matmul;

/* Steps of one operand's batch dimensions within the broadcast batch. */
static void batch_steps(const matmul *p, const qdbg_view *v, int64_t matrix, int64_t *steps)
{
    uint32_t own = v->rank > 2 ? v->rank - 2 : 0;
    int64_t step = matrix;
    for (uint32_t i = 0; i < p->rank; i++) {
        uint32_t at = p->rank - 1 - i;
        int64_t dim = i < own ? v->dims[own - 1 - i] : 1;
        steps[at] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

/* Where b is one matrix for the whole batch, the rows of all of a make one product. */
static void merge_batch(matmul *p)
{
    int64_t rows = p->m, step = p->m * p->k;
    for (uint32_t i = p->rank; i-- > 0;) {
        if (p->b_step[i] != 0 || (p->dims[i] != 1 && p->a_step[i] != step))
            return;
        rows *= p->dims[i];
        step *= p->dims[i];
    }
    if (rows > QDBG__SGEMM_MAX)
        return;
    p->m = rows;
    p->rank = 0;
}

static qdbg_status matmul_shapes(qdbg__infer *x, matmul *p)
{
    const qdbg_view *a = x->in[0], *b = x->in[1];
    char left[128], right[128];
    uint64_t count;
    int64_t rows = 1, columns = 1;
    uint32_t rank_a = a->rank > 2 ? a->rank - 2 : 0, rank_b = b->rank > 2 ? b->rank - 2 : 0;
    bool fits = a->rank > 0 && b->rank > 0;
    if (fits) {
        rows = b->rank > 1 ? b->dims[b->rank - 2] : b->dims[0];
        columns = b->rank > 1 ? b->dims[b->rank - 1] : 1;
        p->m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
        p->k = a->dims[a->rank - 1];
        p->n = columns;
        fits = rows == p->k && qdbg__broadcast(rank_a, a->dims, rank_b, b->dims, &p->rank, p->dims);
    }
    if (!fits)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%s cannot be multiplied by %s",
                                qdbg__shape_text(a->rank, a->dims, left, sizeof left),
                                qdbg__shape_text(b->rank, b->dims, right, sizeof right));
    if (p->m > QDBG__SGEMM_MAX || p->n > QDBG__SGEMM_MAX || p->k > QDBG__SGEMM_MAX ||
        !qdbg__shape_count(a->rank, a->dims, &count) ||
        !qdbg__shape_count(b->rank, b->dims, &count))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "a matrix is too large");
    return QDBG_OK;
}

static qdbg_status matmul_infer(qdbg__infer *x)
{
    matmul *p = x->params;
    const qdbg_view *a = x->in[0], *b = x->in[1];
    int64_t dims[QDBG_MAX_RANK];
    uint64_t count;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status == QDBG_OK)
        status = matmul_shapes(x, p);
    if (status != QDBG_OK)
        return status;
    uint32_t rank = p->rank;
    memcpy(dims, p->dims, sizeof dims);
    if (a->rank > 1)
        dims[rank++] = p->m;
    if (b->rank > 1)
        dims[rank++] = p->n;
    if (!qdbg__shape_count(rank, dims, &count))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "the product is too large");
    qdbg__infer_out(x, 0, QDBG_F32, rank, dims);
    batch_steps(p, a, p->m * p->k, p->a_step);
    batch_steps(p, b, p->k * p->n, p->b_step);
    if (count > 0)
        merge_batch(p);
    return QDBG_OK;
}

static qdbg_status matmul_run(const qdbg__run *r)
{
    const matmul *p = r->params;
    const float *a = r->in[0]->data, *b = r->in[1]->data;
    float *y = r->out[0]->data;
    int64_t index[QDBG_MAX_RANK] = {0};
    uint32_t i;
    if (qdbg_view_count(r->out[0]) == 0)
        return QDBG_OK;
    do {
        qdbg__sgemm(p->m, p->n, p->k, 1.0f, (qdbg__matrix){a, p->k, false},
                    (qdbg__matrix){b, p->n, false}, 0.0f, y, p->n);
        y += p->m * p->n;
        for (i = p->rank; i-- > 0;) { /* to the next matrix of the batch */
            a += p->a_step[i];
            b += p->b_step[i];
            if (++index[i] < p->dims[i])
                break;
            a -= p->a_step[i] * p->dims[i];
            b -= p->b_step[i] * p->dims[i];
            index[i] = 0;
        }
    } while (i != UINT32_MAX);
    return QDBG_OK;
}

static const qdbg__op ops[] = {
    {"Gemm", 2, 3, 1, 0, gemm_infer, gemm_run},
    {"MatMul", 2, 2, 1, 0, matmul_infer, matmul_run},
};

const qdbg__op_table qdbg__ops_gemm = {ops, sizeof ops / sizeof *ops};
