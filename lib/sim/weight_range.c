/* Ranges of weights from their elements: one search for each grid, on all threads. */
#include "../base/pool.h"
#include "../quant/encoding.h"
#include "encode.h"

typedef struct search {
    const qdbg__kernels *kernels;
    const qdbg__quantizer *q;
    const float *data;
    const qdbg__cut *cut;
    size_t most;            /* elements of the largest grid */
    float *gathered;        /* [workers, most] */
    qdbg__range_work *work; /* [workers] */
    qdbg_encoding *out;
} search;

static size_t blocks_of(const qdbg__cut *cut)
{
    return (cut->length + cut->block - 1) / cut->block;
}

/* Elements of grid `g`, in one piece: in `room` or where they lie. */
static const float *gather(const search *s, uint32_t g, float *room, size_t *n)
{
    const qdbg__cut *c = s->cut;
    if (c->n == 1) {
        *n = c->outer * c->length * c->inner;
        return s->data;
    }
    *n = 0;
    if (c->block == 0) {
        for (size_t o = 0; o < c->outer; o++)
            for (size_t i = 0; i < c->inner; i++)
                room[(*n)++] = s->data[(o * c->length + g) * c->inner + i];
        return room;
    }
    size_t i = g % c->inner, b = g / c->inner % blocks_of(c), o = g / c->inner / blocks_of(c);
    for (size_t t = b * c->block; t < c->length && t < (b + 1) * c->block; t++)
        room[(*n)++] = s->data[(o * c->length + t) * c->inner + i];
    return room;
}

static qdbg_status choose(void *arg, uint64_t g, uint32_t worker)
{
    const search *s = arg;
    size_t n;
    const float *x = gather(s, (uint32_t)g, s->gathered + worker * s->most, &n);
    qdbg__span span =
        qdbg__range_of_values(s->kernels, &s->work[worker], x, n, &s->q->range, &s->q->spec);
    if (span.min > span.max) /* no element at all */
        span = (qdbg__span){0, 0};
    s->out[g] = qdbg__encoding_of_range(&s->q->spec, span.min, span.max);
    return QDBG_OK;
}

qdbg_status qdbg__sim_weight_encodings(qdbg_sim *sim, const qdbg__quantizer *q, const float *data,
                                       const qdbg__cut *cut, qdbg_encoding *out)
{
    qdbg_ctx *ctx = sim->ctx;
    size_t workers = cut->n > 1 ? ctx->n_threads : 1;
    search s = {.kernels = qdbg__kernels_of(ctx), .q = q, .data = data, .cut = cut, .out = out};
    if (cut->n > 1)
        s.most = cut->block ? cut->block : cut->outer * cut->inner;
    s.gathered = qdbg__alloc(ctx, workers * s.most, sizeof *s.gathered);
    s.work = s.gathered ? qdbg__alloc(ctx, workers, sizeof *s.work) : NULL;
    qdbg_status status = s.work ? QDBG_OK : ctx->error_status;
    if (status == QDBG_OK && cut->n == 1)
        status = choose(&s, 0, 0);
    else if (status == QDBG_OK)
        status = qdbg__parallel_for(ctx, cut->n, choose, &s);
    qdbg__free(ctx, s.work, workers, sizeof *s.work);
    qdbg__free(ctx, s.gathered, workers * s.most, sizeof *s.gathered);
    return status;
}
