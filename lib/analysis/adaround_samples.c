#include "adaround_samples.h"

#include <cblas.h>
#include <string.h>

#include "../base/pool.h"
#include "../base/sort.h"

uint64_t qdbg__sample_key(uint64_t seed, uint64_t index)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + index;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 29);
}

uint64_t qdbg__sample_bytes(const qdbg__linear *l)
{
    uint64_t across = (uint64_t)l->groups * l->depth, outputs = (uint64_t)l->groups * l->rows;
    return (across + outputs) * sizeof(float) + sizeof(uint64_t);
}

/* ---- memory ---- */

static void set_free(const qdbg__samples *s, qdbg__sample_set *set)
{
    qdbg__free(s->ctx, set->x, set->capacity * s->across, sizeof *set->x);
    qdbg__free(s->ctx, set->y, set->capacity * s->outputs, sizeof *set->y);
    qdbg__free(s->ctx, set->keys, set->capacity, sizeof *set->keys);
    *set = (qdbg__sample_set){0};
}

/* Room for `capacity` columns; what is there moves in. */
static qdbg_status set_grow(const qdbg__samples *s, qdbg__sample_set *set, size_t capacity)
{
    qdbg__sample_set new = *set;
    new.capacity = capacity;
    new.y = NULL;
    new.keys = NULL;
    new.x = qdbg__alloc(s->ctx, capacity * s->across, sizeof *new.x);
    if (new.x)
        new.y = qdbg__alloc(s->ctx, capacity * s->outputs, sizeof *new.y);
    if (new.y)
        new.keys = qdbg__alloc(s->ctx, capacity, sizeof *new.keys);
    if (!new.keys) {
        set_free(s, &new);
        return s->ctx->error_status;
    }
    if (set->n > 0) {
        memcpy(new.x, set->x, set->n * s->across * sizeof *new.x);
        memcpy(new.y, set->y, set->n * s->outputs * sizeof *new.y);
        memcpy(new.keys, set->keys, set->n * sizeof *new.keys);
    }
    set_free(s, set);
    *set = new;
    return QDBG_OK;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

qdbg_status qdbg__samples_init(qdbg__samples *s, qdbg_ctx *ctx, const qdbg__linear *l,
                               size_t expected, size_t limit, uint32_t holdout)
{
    size_t held = holdout > 1 ? (limit + holdout - 1) / holdout : 0;
    size_t expect_held = holdout > 1 ? (expected + holdout - 1) / holdout : 0;
    *s = (qdbg__samples){
        .ctx = ctx, .across = (size_t)l->groups * l->depth, .outputs = (size_t)l->groups * l->rows};
    s->fit.limit = limit > held ? limit - held : 1;
    s->held.limit = held;
    s->fit.bar = s->held.bar = UINT64_MAX;
    qdbg_status status = set_grow(s, &s->fit, least(expected, s->fit.limit));
    if (status == QDBG_OK && held > 0)
        status = set_grow(s, &s->held, least(expect_held, held));
    return status;
}

void qdbg__samples_free(qdbg__samples *s)
{
    if (!s->ctx)
        return;
    set_free(s, &s->fit);
    set_free(s, &s->held);
    *s = (qdbg__samples){0};
}

/* ---- which ones ---- */

static size_t below(const uint64_t *keys, size_t n, uint64_t bar)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += keys[i] < bar;
    return count;
}

static void drop_from_bar(const qdbg__samples *s, qdbg__sample_set *set)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (set->keys[i] >= set->bar)
            continue;
        if (n < i) {
            memcpy(set->x + n * s->across, set->x + i * s->across, s->across * sizeof *set->x);
            memcpy(set->y + n * s->outputs, set->y + i * s->outputs, s->outputs * sizeof *set->y);
            set->keys[n] = set->keys[i];
        }
        n++;
    }
    set->n = n;
}

typedef struct taking {
    qdbg__samples *s;
    qdbg__sample_set *set;
    const qdbg__sample_batch *b;
    uint64_t *keys; /* [n] UINT64_MAX: not to be taken */
    size_t *place;  /* [n] in the set */
    size_t tiles, bands;
} taking;

/* Lower the bar until there is room, and make it. */
static qdbg_status make_room(const taking *t, size_t *n_new)
{
    qdbg__sample_set *set = t->set;
    size_t n = below(t->keys, t->b->n, set->bar);
    bool lowered = false;
    while (set->n + n > set->limit && below(set->keys, set->n, set->bar) + n > set->limit) {
        set->bar /= 2;
        lowered = true;
        n = below(t->keys, t->b->n, set->bar);
    }
    if (lowered)
        drop_from_bar(t->s, set);
    *n_new = n;
    if (set->n + n <= set->capacity)
        return QDBG_OK;
    size_t want = set->capacity * 2 > set->n + n ? set->capacity * 2 : set->n + n;
    return set_grow(t->s, set, least(want, set->limit));
}

static void choose_places(const taking *t)
{
    for (size_t i = 0; i < t->b->n; i++) {
        if (t->keys[i] >= t->set->bar) {
            t->keys[i] = UINT64_MAX;
            continue;
        }
        t->place[i] = t->set->n;
        t->set->keys[t->set->n++] = t->keys[i];
    }
}

/* ---- copies ---- */

/* QDBG__SAMPLE_ROWS columns of one group: all of x, and one band of y. */
static qdbg_status copy_tile(void *arg, uint64_t item, uint32_t worker)
{
    const taking *t = arg;
    const qdbg__sample_batch *b = t->b;
    const qdbg__linear *l = b->linear;
    size_t band = item % t->bands, tile = item / t->bands % t->tiles,
           g = item / t->bands / t->tiles;
    size_t first = tile * QDBG__SAMPLE_ROWS, n = least(b->n - first, QDBG__SAMPLE_ROWS);
    size_t row = band * QDBG__SAMPLE_ROWS, rows = least(l->rows - row, QDBG__SAMPLE_ROWS);
    size_t at = (g * b->stride + b->first + first) * l->depth;
    float *y = b->scratch + worker * b->n_scratch;
    if (below(t->keys + first, n, UINT64_MAX) == 0)
        return QDBG_OK;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)rows, (int)l->depth, 1.0f,
                b->plain + at, (int)l->depth, b->weight + (g * l->rows + row) * l->depth,
                (int)l->depth, 0.0f, y, (int)rows);
    for (size_t i = 0; i < n; i++) {
        if (t->keys[first + i] == UINT64_MAX)
            continue;
        size_t place = t->place[first + i];
        memcpy(t->set->y + place * t->s->outputs + g * l->rows + row, y + i * rows,
               rows * sizeof *y);
        if (band == 0)
            memcpy(t->set->x + place * t->s->across + g * l->depth, b->x + at + i * l->depth,
                   l->depth * sizeof *b->x);
    }
    return QDBG_OK;
}

qdbg_status qdbg__samples_take(qdbg__samples *s, qdbg__sample_set *set, const qdbg__sample_batch *b)
{
    taking t = {.s = s, .set = set, .b = b};
    size_t n_new = 0;
    if (b->n == 0 || set->limit == 0)
        return QDBG_OK;
    t.tiles = (b->n + QDBG__SAMPLE_ROWS - 1) / QDBG__SAMPLE_ROWS;
    t.bands = (b->linear->rows + QDBG__SAMPLE_ROWS - 1) / QDBG__SAMPLE_ROWS;
    t.keys = qdbg__alloc(s->ctx, b->n, sizeof *t.keys);
    t.place = t.keys ? qdbg__alloc(s->ctx, b->n, sizeof *t.place) : NULL;
    qdbg_status status = t.place ? QDBG_OK : s->ctx->error_status;
    uint64_t seed = s->ctx->seed ^ qdbg__sample_key(b->linear->weight, set == &s->held);
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        bool good = b->spoilt[b->first + i] == 0;
        t.keys[i] = good ? qdbg__sample_key(seed, set->offered++) : UINT64_MAX;
    }
    if (status == QDBG_OK)
        status = make_room(&t, &n_new);
    if (status == QDBG_OK && n_new > 0) {
        choose_places(&t);
        status = qdbg__parallel_for(s->ctx, b->linear->groups * t.tiles * t.bands, copy_tile, &t);
    }
    qdbg__free(s->ctx, t.place, b->n, sizeof *t.place);
    qdbg__free(s->ctx, t.keys, b->n, sizeof *t.keys);
    return status;
}

/* ---- order ---- */

typedef struct keyed {
    uint64_t key;
    size_t at;
} keyed;

static int by_key(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Row i of [n, width] becomes what row from[i].at was. Cycle by cycle; `spare` holds a row. */
static void permute(float *rows, size_t width, keyed *from, size_t n, float *spare)
{
    for (size_t i = 0; i < n; i++) {
        if (from[i].at == i)
            continue;
        size_t to = i;
        memcpy(spare, rows + i * width, width * sizeof *rows);
        while (from[to].at != i) {
            size_t next = from[to].at;
            memcpy(rows + to * width, rows + next * width, width * sizeof *rows);
            from[to].at = to;
            to = next;
        }
        memcpy(rows + to * width, spare, width * sizeof *rows);
        from[to].at = to;
    }
}

static void sort_keys(const qdbg__sample_set *set, keyed *order)
{
    for (size_t i = 0; i < set->n; i++)
        order[i] = (keyed){set->keys[i], i};
    qdbg__sort(order, set->n, sizeof *order, by_key);
}

static qdbg_status shuffle(const qdbg__samples *s, qdbg__sample_set *set)
{
    size_t width = s->across > s->outputs ? s->across : s->outputs;
    if (set->n < 2)
        return QDBG_OK;
    keyed *order = qdbg__alloc(s->ctx, set->n, sizeof *order);
    float *spare = order ? qdbg__alloc(s->ctx, width, sizeof *spare) : NULL;
    if (spare) {
        sort_keys(set, order);
        permute(set->x, s->across, order, set->n, spare);
        sort_keys(set, order);
        permute(set->y, s->outputs, order, set->n, spare);
        sort_keys(set, order);
        for (size_t i = 0; i < set->n; i++)
            set->keys[i] = order[i].key;
    }
    qdbg__free(s->ctx, spare, width, sizeof *spare);
    qdbg__free(s->ctx, order, set->n, sizeof *order);
    return spare ? QDBG_OK : s->ctx->error_status;
}

qdbg_status qdbg__samples_finish(qdbg__samples *s)
{
    qdbg_status status = shuffle(s, &s->fit);
    return status == QDBG_OK ? shuffle(s, &s->held) : status;
}
