/* Outputs, and which of them share an encoding with inputs. */
#include <string.h>

#include "placement_work.h"

static bool is_nearest(const qdbg__node *n)
{
    static const char *const types[] = {"Resize", "Upsample"};
    return QDBG__ONE_OF(n, types) &&
           strcmp(qdbg__attr_string(n, "mode", "nearest"), "nearest") == 0;
}

/* Are the outputs elements of the inputs, so that what lies on a grid stays on it? */
static bool picks(const qdbg__node *n)
{
    return (n->op && (n->op->flags & QDBG__OP_PASSES_ENCODING)) || qdbg__node_is(n, "Concat") ||
           is_nearest(n);
}

static int32_t sharing_of(const qdbg__placer *p, const qdbg__node *n)
{
    const qdbg__op_entry *op = qdbg__rules_find_op(p->rules, n->op_type);
    if (op && op->said.sharing != QDBG_SHARE_UNSET)
        return op->said.sharing;
    if (qdbg__node_is(n, "Concat"))
        return QDBG_SHARE_ALL;
    return picks(n) ? QDBG_SHARE_INPUT : QDBG_SHARE_NONE;
}

/* ---- groups of values ---- */

/* The way is halved for those who ask next. */
static uint32_t first_of(qdbg__placer *p, uint32_t value)
{
    while (p->fates[value].group != value) {
        p->fates[value].group = p->fates[p->fates[value].group].group;
        value = p->fates[value].group;
    }
    return value;
}

static void join(qdbg__placer *p, uint32_t a, uint32_t b)
{
    a = first_of(p, a);
    b = first_of(p, b);
    if (a < b)
        p->fates[b].group = a;
    else
        p->fates[a].group = b;
}

/* The value whose encoding input `i` has, or QDBG_NONE. */
static uint32_t root_of_input(const qdbg__placer *p, const qdbg__node *n, uint32_t i)
{
    return i < n->n_in && n->in[i] != QDBG_NONE ? p->fates[n->in[i]].root : QDBG_NONE;
}

/* ---- outputs ---- */

static void absent(qdbg__placer *p, uint32_t value, uint8_t reason, uint32_t other)
{
    p->out->absent[value].reason = reason;
    p->out->absent[value].other = other;
}

/* The output is what the input is, and has no quantizer of its own. */
static void keep(qdbg__placer *p, uint32_t value, uint32_t root)
{
    p->fates[value].root = root;
    absent(p, value, QDBG_ABSENT_SHARED, root);
}

static qdbg_status place_wanted(qdbg__placer *p, uint32_t value)
{
    return p->fates[value].wanted ? qdbg__place_activation(p, value) : QDBG_OK;
}

/* Outputs that share the first input's encoding. */
static qdbg_status share_input(qdbg__placer *p, const qdbg__node *n, uint32_t value)
{
    uint32_t root = root_of_input(p, n, 0);
    if (picks(n) && root != QDBG_NONE) {
        keep(p, value, root);
        return QDBG_OK;
    }
    bool ends_group = p->fates[n->in[0]].fused != QDBG_NONE; /* its quantizer is the group's */
    if (picks(n) && !p->fates[value].forced && !ends_group) {
        absent(p, value, QDBG_ABSENT_SOURCE, n->in[0]);
        return QDBG_OK;
    }
    bool unsaid = p->fates[value].section == QDBG__SECTION_DEFAULTS;
    qdbg_status status =
        root != QDBG_NONE && unsaid ? qdbg__place_activation(p, value) : place_wanted(p, value);
    if (status == QDBG_OK && root != QDBG_NONE && p->fates[value].root == value)
        join(p, root, value);
    return status;
}

static void join_inputs(qdbg__placer *p, const qdbg__node *n, uint32_t with)
{
    for (uint32_t i = 0; i < n->n_in; i++)
        if (root_of_input(p, n, i) != QDBG_NONE)
            join(p, root_of_input(p, n, i), with);
}

/* Outputs that share one encoding with all inputs. An input without a quantizer, such as a
 * constant, comes onto the grid at the output. */
static qdbg_status share_all(qdbg__placer *p, const qdbg__node *n, uint32_t value)
{
    bool all = n->n_in > 0;
    for (uint32_t i = 0; i < n->n_in; i++)
        all = all && (n->in[i] == QDBG_NONE || root_of_input(p, n, i) != QDBG_NONE);
    if (picks(n) && all && root_of_input(p, n, 0) != QDBG_NONE) {
        keep(p, value, root_of_input(p, n, 0));
        join_inputs(p, n, p->fates[value].root);
        return QDBG_OK;
    }
    qdbg_status status = place_wanted(p, value);
    if (status == QDBG_OK && p->fates[value].root == value)
        join_inputs(p, n, value);
    return status;
}

static bool live_input(const qdbg__placer *p, const qdbg__node *n)
{
    return n->n_in > 0 && n->in[0] != QDBG_NONE && p->fates[n->in[0]].is_live &&
           p->fates[n->in[0]].is_float;
}

qdbg_status qdbg__place_outputs(qdbg__placer *p, uint32_t node)
{
    const qdbg__node *n = &p->graph->nodes[node];
    int32_t sharing = sharing_of(p, n);
    if (sharing == QDBG_SHARE_INPUT && !live_input(p, n)) /* a table with live indices, a cast */
        sharing = QDBG_SHARE_NONE;
    qdbg_status status = QDBG_OK;
    for (uint32_t k = 0; k < n->n_out && status == QDBG_OK; k++) {
        uint32_t v = n->out[k];
        if (v == QDBG_NONE || !p->fates[v].is_float || !p->fates[v].is_live)
            continue;
        if (p->fates[v].fused != QDBG_NONE)
            absent(p, v, QDBG_ABSENT_FUSED, p->fates[v].fused);
        else if (sharing == QDBG_SHARE_INPUT)
            status = share_input(p, n, v);
        else if (sharing == QDBG_SHARE_ALL)
            status = share_all(p, n, v);
        else
            status = place_wanted(p, v);
    }
    return status;
}

/* ---- groups of places ---- */

static bool is_positive(const qdbg__place *place)
{
    return place->symmetry != QDBG_ASYMMETRIC && place->is_signed == QDBG_UNSIGNED;
}

/* Place `i` joins a group behind `last`. The leader's grid becomes that of all, but for one that
 * holds nothing below zero: this suits the group only where it suits each of them. */
static void follow(qdbg__places *out, uint32_t leader, uint32_t last, uint32_t i)
{
    qdbg__place *at = out->at;
    at[leader].shared = at[i].shared = true;
    at[i].group = leader;
    at[last].next = i;
    if (is_positive(&at[leader]) && !is_positive(&at[i]))
        at[leader].is_signed = QDBG_SIGNED;
}

void qdbg__place_groups(qdbg__placer *p)
{
    qdbg__places *out = p->out;
    for (uint32_t i = 0; i < out->n; i++) {
        qdbg__fate *first = &p->fates[first_of(p, out->at[i].value)];
        if (out->at[i].kind != QDBG_ACTIVATION)
            continue;
        if (first->leader == QDBG_NONE)
            first->leader = i;
        else
            follow(out, first->leader, first->last, i);
        first->last = i;
    }
    for (uint32_t i = 0; i < out->n; i++) {
        out->at[i].symmetry = out->at[out->at[i].group].symmetry;
        out->at[i].is_signed = out->at[out->at[i].group].is_signed;
    }
}
