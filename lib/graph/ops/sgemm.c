#include "sgemm.h"

#include <cblas.h>
#include <string.h>

/* OpenBLAS multiplies without packing, 1.2 to 1.8 times as quickly, up to this many
 * multiplications (bench/bench_exec.c). */
#define SMALL_PRODUCT 1000000
#define STEP 16

static CBLAS_TRANSPOSE flag(bool trans)
{
    return trans ? CblasTrans : CblasNoTrans;
}

static void scale(int64_t m, int64_t n, float beta, float *c, int64_t c_stride)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++)
            c[i * c_stride + j] = beta == 0.0f ? 0.0f : beta * c[i * c_stride + j];
    }
}

static int64_t round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* Block sizes for a product without transposes; the whole matrix where cutting does not pay. */
static void choose_block(int64_t m, int64_t n, int64_t k, int64_t *rows, int64_t *columns)
{
    *rows = m;
    *columns = n;
    if ((double)m * (double)n * (double)k <= SMALL_PRODUCT || k > SMALL_PRODUCT / (STEP * STEP))
        return;
    int64_t r = m;
    while (r * k > SMALL_PRODUCT / STEP)
        r = round_up((r + 1) / 2, STEP);
    *rows = r;
    int64_t c = SMALL_PRODUCT / (r * k) / STEP * STEP;
    *columns = c < n ? c : n;
}

static void multiply_blocks(int64_t m, int64_t n, int64_t k, float alpha, qdbg__matrix a,
                            qdbg__matrix b, float beta, float *c, int64_t c_stride)
{
    int64_t rows = m, columns = n;
    if (!a.trans && !b.trans)
        choose_block(m, n, k, &rows, &columns);
    for (int64_t j = 0; j < n; j += columns) {
        int64_t nj = n - j < columns ? n - j : columns;
        for (int64_t i = 0; i < m; i += rows) {
            int64_t ni = m - i < rows ? m - i : rows;
            cblas_sgemm(CblasRowMajor, flag(a.trans), flag(b.trans), (int)ni, (int)nj, (int)k,
                        alpha, a.data + i * a.stride, (int)a.stride, b.data + j, (int)b.stride,
                        beta, c + i * c_stride + j, (int)c_stride);
        }
    }
}

void qdbg__sgemm(int64_t m, int64_t n, int64_t k, float alpha, qdbg__matrix a, qdbg__matrix b,
                 float beta, float *c, int64_t c_stride)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) { /* BLAS is not bound to scale c then */
        scale(m, n, beta, c, c_stride);
        return;
    }
    if (n == 1) {
        cblas_sgemv(CblasRowMajor, flag(a.trans), (int)(a.trans ? k : m), (int)(a.trans ? m : k),
                    alpha, a.data, (int)a.stride, b.data, b.trans ? 1 : (int)b.stride, beta, c,
                    (int)c_stride);
    } else if (m == 1) {
        cblas_sgemv(CblasRowMajor, flag(!b.trans), (int)(b.trans ? n : k), (int)(b.trans ? k : n),
                    alpha, b.data, (int)b.stride, a.data, a.trans ? (int)a.stride : 1, beta, c, 1);
    } else {
        multiply_blocks(m, n, k, alpha, a, b, beta, c, c_stride);
    }
}
