#include "equalize.h"

#include <math.h>

void qdbg_equalize_options_init(qdbg_equalize_options *options)
{
    if (options)
        *options = (qdbg_equalize_options)QDBG_EQUALIZE_OPTIONS_INIT;
}

void qdbg_equalize_row_init(qdbg_equalize_row *row)
{
    if (row)
        *row = (qdbg_equalize_row)QDBG_EQUALIZE_ROW_INIT;
}

/* ---- what channels show on data ---- */

typedef struct looking {
    qdbg__joints *joints;
    size_t *first;       /* [n_values] where a value's channels begin in `ranges` */
    uint8_t *wanted;     /* [n_values] */
    qdbg__range *ranges; /* [n_workers * n_channels] */
    size_t n_channels, n_workers;
} looking;

/* What to see of a layer: before the clamp for what is lowest, what consumers read for what is
 * largest; false where it is in no joint that is worked on. */
static bool value_to_see(const qdbg__joints *j, size_t layer, bool lowest, uint32_t *value,
                         qdbg__port *port)
{
    *value = lowest ? j->layers[layer].result : j->layers[layer].input;
    *port = qdbg__joints_port(j, *value);
    return port->joint && port->joint->outcome == QDBG_EQUALIZE_DONE;
}

static qdbg_status look(void *user, uint32_t worker, uint32_t variant, uint64_t run, uint32_t value,
                        const qdbg_view *view)
{
    looking *l = user;
    size_t channels = qdbg__joints_channels(l->joints, value);
    size_t outer = (size_t)view->dims[0], inner = 0; /* behind Flatten, positions of a channel */
    (void)variant;
    (void)run;
    if (outer > 0)
        inner = (size_t)qdbg_view_count(view) / outer / channels;
    qdbg__kernels_of(l->joints->model->ctx)
        ->range_channels(view->data, outer, channels, inner,
                         l->ranges + worker * l->n_channels + l->first[value]);
    return QDBG_OK;
}

static qdbg_status look_at_stretch(void *user, const qdbg__stretch *s)
{
    looking *l = user;
    qdbg_model *m = l->joints->model;
    qdbg__variant plain = {NULL, NULL};
    qdbg__model_job job = {.inputs = s->inputs,
                           .n_runs = s->n_runs,
                           .variants = &plain,
                           .n_variants = 1,
                           .observe = look,
                           .observe_values = l->wanted,
                           .observe_user = l};
    return m->backend->run(m, &job);
}

static qdbg_status begin_looking(looking *l, bool lowest)
{
    qdbg__joints *j = l->joints;
    qdbg_ctx *ctx = j->model->ctx;
    size_t n_values = j->model->graph->n_values;
    l->first = qdbg__alloc(ctx, n_values, sizeof *l->first);
    l->wanted = l->first ? qdbg__alloc(ctx, n_values, 1) : NULL;
    if (!l->wanted)
        return ctx->error_status;
    for (size_t i = 0; i < j->n_layers; i++) {
        qdbg__port port;
        uint32_t v;
        if (!value_to_see(j, i, lowest, &v, &port) || l->wanted[v])
            continue;
        l->first[v] = l->n_channels;
        l->wanted[v] = 1;
        l->n_channels += port.n;
    }
    l->n_workers = ctx->n_threads;
    l->ranges = qdbg__alloc(ctx, l->n_workers * l->n_channels, sizeof *l->ranges);
    if (!l->ranges)
        return ctx->error_status;
    for (size_t i = 0; i < l->n_workers * l->n_channels; i++)
        qdbg__range_init(&l->ranges[i]);
    return QDBG_OK;
}

/* Channels that were never seen or not finite throughout have the peak 0: not known. */
static void take_peaks_of(const looking *l, size_t layer, bool lowest)
{
    qdbg__port port;
    uint32_t v;
    if (!value_to_see(l->joints, layer, lowest, &v, &port))
        return;
    for (size_t c = 0; c < port.n; c++) {
        const qdbg__range *r = &l->ranges[l->first[v] + c];
        double *peak = &port.joint->peak[port.first + c];
        if (!(r->min <= r->max) || r->n_nan + r->n_inf > 0)
            continue;
        *peak =
            lowest ? (double)r->min : fmax(*peak, fmax(fabs((double)r->min), fabs((double)r->max)));
    }
}

static qdbg_status take_peaks(looking *l, bool lowest)
{
    qdbg__joints *j = l->joints;
    for (size_t w = 1; w < l->n_workers; w++)
        for (size_t i = 0; i < l->n_channels; i++)
            qdbg__range_merge(&l->ranges[i], &l->ranges[w * l->n_channels + i]);
    for (size_t i = 0; i < j->n; i++) {
        qdbg__joint *x = &j->at[i];
        if (x->outcome != QDBG_EQUALIZE_DONE)
            continue;
        x->peak = qdbg__alloc(j->model->ctx, x->channels, sizeof *x->peak);
        if (!x->peak)
            return j->model->ctx->error_status;
    }
    for (size_t i = 0; i < j->n_layers; i++)
        take_peaks_of(l, i, lowest);
    return QDBG_OK;
}

qdbg_status qdbg__joints_observe(qdbg__joints *j, const qdbg_dataset *data, bool lowest)
{
    looking l = {.joints = j};
    qdbg_ctx *ctx = j->model->ctx;
    size_t n_values = j->model->graph->n_values;
    qdbg_status status = begin_looking(&l, lowest);
    if (status == QDBG_OK && l.n_channels > 0)
        status =
            qdbg__dataset_walk(j->model, data, "equalize: channels", 0, look_at_stretch, &l, NULL);
    if (status == QDBG_OK)
        status = take_peaks(&l, lowest);
    qdbg__free(ctx, l.ranges, l.n_workers * l.n_channels, sizeof *l.ranges);
    qdbg__free(ctx, l.wanted, n_values, 1);
    qdbg__free(ctx, l.first, n_values, sizeof *l.first);
    return status;
}

/* ---- run ---- */

static void mark_reverted(qdbg_equalize *e)
{
    for (size_t i = 0; i < e->joints.n; i++)
        if (e->joints.at[i].outcome == QDBG_EQUALIZE_DONE ||
            e->joints.at[i].outcome == QDBG_EQUALIZE_ABSORBED)
            e->joints.at[i].outcome = QDBG_EQUALIZE_REVERTED;
}

qdbg_status qdbg__equalize_judge(qdbg_equalize *e, const char *stage)
{
    qdbg_status status = qdbg__guard_judge(&e->guard, &e->journal, stage);
    if (e->guard.undone)
        mark_reverted(e);
    return status;
}

/* Scale with that balance, from what the model is without scaling. */
static qdbg_status attempt(qdbg_equalize *e, const qdbg_equalize_options *o, double balance)
{
    e->balance = balance;
    qdbg_status status =
        qdbg__equalize_factors(&e->joints, balance, o->max_sweeps ? o->max_sweeps : 100);
    if (status == QDBG_OK && !(o->flags & QDBG_EQUALIZE_ADVISE))
        status = qdbg__joints_apply(&e->joints, &e->journal);
    return status;
}

static qdbg_status try_all(qdbg_equalize *e, const qdbg_equalize_options *o)
{
    static const double balances[] = {0, 0.25, 0.5, 0.75};
    double best = 0, best_score = -(double)INFINITY;
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < sizeof balances / sizeof *balances && status == QDBG_OK; i++) {
        double score = 0;
        status = attempt(e, o, balances[i]);
        if (status == QDBG_OK)
            status = qdbg__guard_score(&e->guard, "equalize: score", &score);
        if (status == QDBG_OK)
            status = qdbg__journal_undo(e->model, &e->journal, 0);
        if (status == QDBG_OK && score > best_score) {
            best_score = score;
            best = balances[i];
        }
    }
    return status == QDBG_OK ? attempt(e, o, best) : status;
}

/* A beginner's trap: all is well, and nothing has happened. */
static void warn_of_norms(const qdbg_equalize *e)
{
    size_t n_norms = 0;
    for (size_t i = 0; i < e->joints.n; i++) {
        if (e->joints.at[i].outcome == QDBG_EQUALIZE_DONE)
            return;
        n_norms += e->joints.at[i].outcome == QDBG_EQUALIZE_NORM;
    }
    if (n_norms > 0)
        qdbg__log(e->model->ctx, QDBG_LOG_WARNING,
                  "equalize: nothing can be equalized, since batch-normalizations are not folded: "
                  "fold first, qdbg_fold_run()");
}

static qdbg_status equalize(qdbg_equalize *e, const qdbg_equalize_options *o)
{
    bool advise = (o->flags & QDBG_EQUALIZE_ADVISE) != 0;
    qdbg_status status = qdbg__joints_find(e->model, &e->joints);
    if (status == QDBG_OK)
        warn_of_norms(e);
    if (status == QDBG_OK && e->guard.sim && !advise)
        status = qdbg__guard_score(&e->guard, "equalize: score", &e->guard.before);
    if (status == QDBG_OK && o->formula != QDBG_EQUALIZE_RANGES)
        status = qdbg__joints_observe(&e->joints, o->calibration, false);
    if (status != QDBG_OK)
        return status;
    if (o->formula == QDBG_EQUALIZE_BEST && !advise)
        status = try_all(e, o);
    else if (o->formula == QDBG_EQUALIZE_RANGES)
        status = attempt(e, o, 0);
    else
        status = attempt(e, o, o->balance > 0 ? o->balance : 0.5);
    return status == QDBG_OK && !advise ? qdbg__equalize_judge(e, "equalize: score") : status;
}

static qdbg_status check(qdbg_model *m, const qdbg_equalize_options *o, const qdbg__guard *g)
{
    if (o->struct_size != sizeof *o || o->formula < QDBG_EQUALIZE_RANGES ||
        o->formula > QDBG_EQUALIZE_BEST || (o->flags & ~QDBG_EQUALIZE_ADVISE) != 0 ||
        !(o->balance >= 0 && o->balance <= 1))
        return qdbg__fail(m->ctx, QDBG_E_INVALID,
                          "equalize options: struct_size, formula, flags or balance is wrong");
    if (o->formula != QDBG_EQUALIZE_RANGES && !o->calibration)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "the formula needs calibration data");
    if (o->formula == QDBG_EQUALIZE_BEST && !g->sim)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "QDBG_EQUALIZE_BEST needs a guard");
    qdbg_status status = o->calibration ? qdbg__dataset_check(m->ctx, o->calibration) : QDBG_OK;
    return status == QDBG_OK ? qdbg__guard_check(m, g) : status;
}

qdbg_status qdbg_equalize_run(qdbg_model *m, const qdbg_equalize_options *options,
                              qdbg_equalize **result)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    if (options)
        o = *options;
    if (!result)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "result is NULL");
    qdbg__guard g = {.sim = o.guard_sim,
                     .calibration = o.calibration,
                     .dataset = o.guard_dataset,
                     .metric = o.guard_metric,
                     .moves_ranges = !(o.flags & QDBG_EQUALIZE_ADVISE)};
    qdbg_status status = check(m, &o, &g);
    if (status != QDBG_OK)
        return status;
    qdbg_equalize *e = qdbg__alloc(m->ctx, 1, sizeof *e);
    if (!e)
        return m->ctx->error_status;
    e->model = m;
    e->guard = g;
    status = equalize(e, &o);
    if (status != QDBG_OK) {
        qdbg__journal_undo(m, &e->journal, 0);
        qdbg_equalize_destroy(e);
        return status;
    }
    *result = e;
    return QDBG_OK;
}

/* ---- the result ---- */

void qdbg_equalize_destroy(qdbg_equalize *e)
{
    if (!e)
        return;
    qdbg__joints_free(&e->joints);
    qdbg__journal_free(e->model, &e->journal);
    qdbg__free(e->model->ctx, e, 1, sizeof *e);
}

qdbg_status qdbg_equalize_undo(qdbg_equalize *e)
{
    if (!e)
        return QDBG_E_INVALID;
    qdbg__clear_error(e->model->ctx);
    qdbg_status status = qdbg__journal_check_undo(e->model, &e->journal);
    if (status != QDBG_OK)
        return status;
    mark_reverted(e);
    return qdbg__journal_undo(e->model, &e->journal, 0);
}

uint32_t qdbg_equalize_count(const qdbg_equalize *e)
{
    return e ? (uint32_t)e->joints.n : 0;
}

qdbg_status qdbg_equalize_get(const qdbg_equalize *e, uint32_t index, qdbg_equalize_row *row)
{
    if (!e || !row || row->struct_size != sizeof *row)
        return QDBG_E_INVALID;
    if (index >= e->joints.n)
        return QDBG_E_NOT_FOUND;
    const qdbg__joint *x = &e->joints.at[index];
    *row = x->row;
    row->outcome = x->outcome;
    row->node = x->node;
    return QDBG_OK;
}

qdbg_status qdbg_equalize_factors(const qdbg_equalize *e, uint32_t value, float *factors,
                                  uint64_t count)
{
    if (!e || !factors)
        return QDBG_E_INVALID;
    if (value >= e->model->graph->n_values)
        return QDBG_E_NOT_FOUND;
    qdbg__port p = qdbg__joints_port(&e->joints, value);
    const qdbg__joint *x = p.joint;
    bool holds = x && (x->outcome == QDBG_EQUALIZE_DONE || x->outcome == QDBG_EQUALIZE_ABSORBED);
    if (x && count != p.n)
        return QDBG_E_INVALID;
    for (uint64_t c = 0; c < count; c++)
        factors[c] = holds ? (float)x->factor[p.first + c] : e->is_absorption ? 0 : 1;
    return QDBG_OK;
}

int32_t qdbg_equalize_guard(const qdbg_equalize *e, double *before, double *after)
{
    return qdbg__guard_tell(e ? &e->guard : NULL, before, after);
}

double qdbg_equalize_balance(const qdbg_equalize *e)
{
    return e ? e->balance : 0;
}
