#include "observer_rows.h"

#include <math.h>
#include <string.h>

#define MOST_ROWS 512
#define FEWEST_ROWS 8
#define MOST_FLOATS 65536

/* FNV-1a over words, stirred at the end so that low hashes are no special rows. */
static uint64_t hash_row(const float *row, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) {
        uint32_t word;
        memcpy(&word, &row[i], sizeof word);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 29;
    }
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static bool is_finite_row(const float *row, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isfinite(row[i]))
            return false;
    return true;
}

/* The order by which rows are kept: -1 when a is kept rather than b. */
static int compare(uint64_t hash_a, const float *a, uint64_t hash_b, const float *b, size_t length)
{
    if (hash_a != hash_b)
        return hash_a < hash_b ? -1 : 1;
    return memcmp(a, b, length * sizeof *a);
}

static const float *row_at(const qdbg__rows *rows, size_t i)
{
    return rows->data + i * rows->length;
}

static void find_worst(qdbg__rows *rows)
{
    rows->worst = 0;
    for (size_t i = 1; i < rows->n; i++)
        if (compare(rows->hash[i], row_at(rows, i), rows->hash[rows->worst],
                    row_at(rows, rows->worst), rows->length) > 0)
            rows->worst = i;
}

static void insert(qdbg__rows *rows, uint64_t hash, const float *row)
{
    size_t at = rows->n;
    if (rows->n == rows->capacity) {
        at = rows->worst;
        if (compare(hash, row, rows->hash[at], row_at(rows, at), rows->length) >= 0)
            return;
    } else {
        rows->n++;
    }
    rows->hash[at] = hash;
    memcpy(rows->data + at * rows->length, row, rows->length * sizeof *row);
    if (rows->n == rows->capacity)
        find_worst(rows);
}

qdbg_status qdbg__rows_prepare(qdbg_ctx *ctx, qdbg__alloc_fn alloc, qdbg__rows *rows, size_t length)
{
    if (rows->capacity > 0)
        return rows->length == length ? QDBG_OK : QDBG_E_SHAPE;
    size_t capacity = length > 0 ? MOST_FLOATS / length : MOST_ROWS;
    if (capacity > MOST_ROWS)
        capacity = MOST_ROWS;
    if (capacity < FEWEST_ROWS)
        capacity = FEWEST_ROWS;
    uint64_t *hash = alloc(ctx, capacity, sizeof *hash);
    float *data = hash ? alloc(ctx, capacity * length, sizeof *data) : NULL;
    if (!data) {
        qdbg__free(ctx, hash, capacity, sizeof *hash);
        return QDBG_E_NOMEM;
    }
    *rows = (qdbg__rows){.length = length, .capacity = capacity, .hash = hash, .data = data};
    return QDBG_OK;
}

qdbg_status qdbg__rows_add(qdbg_ctx *ctx, qdbg__rows *rows, const float *data, size_t n,
                           size_t length)
{
    qdbg_status status = qdbg__rows_prepare(ctx, qdbg__try_alloc, rows, length);
    for (size_t i = 0; i < n && status == QDBG_OK; i++) {
        const float *row = data + i * length;
        if (is_finite_row(row, length))
            insert(rows, hash_row(row, length), row);
    }
    return status;
}

qdbg_status qdbg__rows_merge(qdbg_ctx *ctx, qdbg__rows *into, const qdbg__rows *from)
{
    if (from->capacity == 0)
        return QDBG_OK;
    qdbg_status status = qdbg__rows_prepare(ctx, qdbg__try_alloc, into, from->length);
    for (size_t i = 0; i < from->n && status == QDBG_OK; i++)
        insert(into, from->hash[i], row_at(from, i));
    return status;
}

void qdbg__rows_copy_sorted(const qdbg__rows *rows, float *out, size_t *order)
{
    for (size_t i = 0; i < rows->n; i++) {
        size_t k = i;
        for (; k > 0 && compare(rows->hash[i], row_at(rows, i), rows->hash[order[k - 1]],
                                row_at(rows, order[k - 1]), rows->length) < 0;
             k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t i = 0; i < rows->n; i++)
        memcpy(out + i * rows->length, row_at(rows, order[i]), rows->length * sizeof *out);
}

void qdbg__rows_free(qdbg_ctx *ctx, qdbg__rows *rows)
{
    qdbg__free(ctx, rows->hash, rows->capacity, sizeof *rows->hash);
    qdbg__free(ctx, rows->data, rows->capacity * rows->length, sizeof *rows->data);
    *rows = (qdbg__rows){0};
}
