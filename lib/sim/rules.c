/* Rule sets: made, copied, compared, changed. */
#include "rules.h"

#include <string.h>

#include "../base/text.h"

void qdbg_rule_defaults_init(qdbg_rule_defaults *defaults)
{
    if (defaults)
        *defaults = (qdbg_rule_defaults)QDBG_RULE_DEFAULTS_INIT;
}

void qdbg_op_rule_init(qdbg_op_rule *rule)
{
    if (rule)
        *rule = (qdbg_op_rule)QDBG_OP_RULE_INIT;
}

void qdbg_param_rule_init(qdbg_param_rule *rule)
{
    if (rule)
        *rule = (qdbg_param_rule)QDBG_PARAM_RULE_INIT;
}

/* ---- memory ---- */

static void drop_params(qdbg_ctx *ctx, qdbg__param_entries *p)
{
    for (size_t i = 0; i < p->n; i++)
        qdbg__strfree(ctx, p->at[i].name);
    qdbg__names_drop(ctx, &p->names);
    qdbg__free(ctx, p->at, p->capacity, sizeof *p->at);
}

static void drop_op(qdbg_ctx *ctx, qdbg__op_entry *op)
{
    qdbg__strfree(ctx, op->type);
    drop_params(ctx, &op->params);
    qdbg__free(ctx, op->computes.at, op->computes.capacity, sizeof *op->computes.at);
}

static void drop_group(qdbg_ctx *ctx, qdbg__supergroup *group)
{
    for (size_t i = 0; i < group->n && group->ops; i++)
        qdbg__strfree(ctx, group->ops[i]);
    qdbg__free(ctx, group->ops, group->n, sizeof *group->ops);
    *group = (qdbg__supergroup){NULL, 0};
}

void qdbg_rules_destroy(qdbg_rules *r)
{
    if (!r)
        return;
    qdbg_ctx *ctx = r->ctx;
    for (size_t i = 0; i < r->n_ops; i++)
        drop_op(ctx, &r->ops[i]);
    for (size_t i = 0; i < r->n_groups; i++)
        drop_group(ctx, &r->groups[i]);
    qdbg__names_drop(ctx, &r->op_names);
    qdbg__free(ctx, r->ops, r->ops_capacity, sizeof *r->ops);
    qdbg__free(ctx, r->groups, r->groups_capacity, sizeof *r->groups);
    qdbg__free(ctx, r->computes.at, r->computes.capacity, sizeof *r->computes.at);
    drop_params(ctx, &r->params);
    drop_group(ctx, &r->passes);
    qdbg__strfree(ctx, r->hw_version);
    qdbg__free(ctx, r, 1, sizeof *r);
}

qdbg_status qdbg__rules_new(qdbg_ctx *ctx, qdbg_rules **out)
{
    qdbg_rules *r = qdbg__alloc(ctx, 1, sizeof *r);
    if (!r)
        return ctx->error_status;
    r->ctx = ctx;
    r->params.names.stride = sizeof *r->params.at;
    r->op_names.stride = sizeof *r->ops;
    r->defaults = (qdbg_rule_defaults)QDBG_RULE_DEFAULTS_INIT;
    *out = r;
    return QDBG_OK;
}

qdbg_status qdbg_rules_create(qdbg_ctx *ctx, const char *preset, qdbg_rules **out)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    qdbg_rules *r = NULL;
    qdbg_status status = qdbg__rules_new(ctx, &r);
    if (status != QDBG_OK)
        return status;
    status = qdbg__rules_fill(r, preset ? preset : "default");
    if (status == QDBG_OK)
        *out = r;
    else
        qdbg_rules_destroy(r);
    return status;
}

/* ---- entries ---- */

const qdbg__param_entry *qdbg__rules_find_param(const qdbg__param_entries *p, const char *name)
{
    size_t i = qdbg__names_find(&p->names, p->at, p->n, name);
    return i == SIZE_MAX ? NULL : &p->at[i];
}

qdbg__param_entry *qdbg__rules_param(qdbg_ctx *ctx, qdbg__param_entries *p, const char *name)
{
    size_t i = qdbg__names_find(&p->names, p->at, p->n, name);
    if (i != SIZE_MAX)
        return &p->at[i];
    if (qdbg__reserve(ctx, &p->at, &p->capacity, p->n + 1, sizeof *p->at) != QDBG_OK ||
        qdbg__names_reserve(ctx, &p->names, p->at, p->n) != QDBG_OK)
        return NULL;
    qdbg__param_entry *entry = &p->at[p->n];
    *entry = (qdbg__param_entry){.name = qdbg__strdup(ctx, name)};
    if (!entry->name)
        return NULL;
    qdbg__names_add(&p->names, entry->name, p->n++);
    return entry;
}

const qdbg__op_entry *qdbg__rules_find_op(const qdbg_rules *r, const char *op_type)
{
    size_t i = qdbg__names_find(&r->op_names, r->ops, r->n_ops, op_type);
    return i == SIZE_MAX ? NULL : &r->ops[i];
}

qdbg__op_entry *qdbg__rules_op(qdbg_rules *r, const char *op_type)
{
    size_t i = qdbg__names_find(&r->op_names, r->ops, r->n_ops, op_type);
    if (i != SIZE_MAX)
        return &r->ops[i];
    if (qdbg__reserve(r->ctx, &r->ops, &r->ops_capacity, r->n_ops + 1, sizeof *r->ops) != QDBG_OK ||
        qdbg__names_reserve(r->ctx, &r->op_names, r->ops, r->n_ops) != QDBG_OK)
        return NULL;
    qdbg__op_entry *op = &r->ops[r->n_ops];
    *op = (qdbg__op_entry){.type = qdbg__strdup(r->ctx, op_type), .said = QDBG_OP_RULE_INIT};
    if (!op->type)
        return NULL;
    op->params.names.stride = sizeof *op->params.at;
    qdbg__names_add(&r->op_names, op->type, r->n_ops++);
    return op;
}

static bool same_said(const qdbg_op_rule *a, const qdbg_op_rule *b)
{
    return a->input_quantized == b->input_quantized && a->output_quantized == b->output_quantized &&
           a->symmetric == b->symmetric && a->per_channel == b->per_channel &&
           a->sharing == b->sharing && a->has_range == b->has_range &&
           (!a->has_range || (a->min == b->min && a->max == b->max));
}

static bool says_nothing(const qdbg_op_rule *said)
{
    const qdbg_op_rule nothing = QDBG_OP_RULE_INIT;
    return same_said(said, &nothing);
}

bool qdbg__op_says_nothing(const qdbg__op_entry *op)
{
    return says_nothing(&op->said) && op->params.n == 0 && !op->computes.said;
}

void qdbg__rules_sift(qdbg_rules *r, bool (*is_lost)(qdbg__op_entry *op))
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n_ops; i++)
        if (is_lost(&r->ops[i]))
            drop_op(r->ctx, &r->ops[i]);
        else
            r->ops[kept++] = r->ops[i];
    r->n_ops = kept;
    qdbg__names_drop(r->ctx, &r->op_names);
}

/* Forget an entry where nothing is said of the operator any more. */
static void tidy_op(qdbg_rules *r, qdbg__op_entry *op)
{
    size_t i = (size_t)(op - r->ops);
    if (!qdbg__op_says_nothing(op))
        return;
    drop_op(r->ctx, op);
    qdbg__names_drop(r->ctx, &r->op_names);
    r->n_ops--;
    memmove(&r->ops[i], &r->ops[i + 1], (r->n_ops - i) * sizeof *r->ops);
}

qdbg_status qdbg__rules_add_compute(qdbg_ctx *ctx, qdbg__computes *c, qdbg__compute compute)
{
    qdbg_status status = qdbg__reserve(ctx, &c->at, &c->capacity, c->n + 1, sizeof *c->at);
    if (status == QDBG_OK)
        c->at[c->n++] = compute;
    return status;
}

/* ---- copy ---- */

static qdbg_status copy_params(qdbg_ctx *ctx, const qdbg__param_entries *from,
                               qdbg__param_entries *to)
{
    for (size_t i = 0; i < from->n; i++) {
        qdbg__param_entry *entry = qdbg__rules_param(ctx, to, from->at[i].name);
        if (!entry)
            return ctx->error_status;
        entry->quantized = from->at[i].quantized;
        entry->symmetric = from->at[i].symmetric;
    }
    return QDBG_OK;
}

static qdbg_status copy_computes(qdbg_ctx *ctx, const qdbg__computes *from, qdbg__computes *to)
{
    qdbg_status status = QDBG_OK;
    to->said = from->said;
    for (size_t i = 0; i < from->n && status == QDBG_OK; i++)
        status = qdbg__rules_add_compute(ctx, to, from->at[i]);
    return status;
}

static qdbg_status copy_ops(const qdbg_rules *from, qdbg_rules *to)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < from->n_ops && status == QDBG_OK; i++) {
        qdbg__op_entry *op = qdbg__rules_op(to, from->ops[i].type);
        if (!op)
            return to->ctx->error_status;
        op->said = from->ops[i].said;
        status = copy_params(to->ctx, &from->ops[i].params, &op->params);
        if (status == QDBG_OK)
            status = copy_computes(to->ctx, &from->ops[i].computes, &op->computes);
    }
    return status;
}

static qdbg_status copy_all(const qdbg_rules *from, qdbg_rules *to)
{
    to->defaults = from->defaults;
    if (from->hw_version) {
        to->hw_version = qdbg__strdup(to->ctx, from->hw_version);
        if (!to->hw_version)
            return to->ctx->error_status;
    }
    qdbg_status status = copy_computes(to->ctx, &from->computes, &to->computes);
    if (status == QDBG_OK)
        status = copy_params(to->ctx, &from->params, &to->params);
    if (status == QDBG_OK)
        status = copy_ops(from, to);
    if (status == QDBG_OK)
        status = qdbg__rules_set_passes(to, (const char *const *)from->passes.ops, from->passes.n);
    for (size_t i = 0; i < from->n_groups && status == QDBG_OK; i++)
        status = qdbg_rules_add_supergroup(to, (const char *const *)from->groups[i].ops,
                                           (uint32_t)from->groups[i].n);
    return status;
}

qdbg_status qdbg_rules_copy(const qdbg_rules *rules, qdbg_rules **out)
{
    if (!rules)
        return QDBG_E_INVALID;
    qdbg__clear_error(rules->ctx);
    if (!out)
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "out is NULL");
    qdbg_rules *r = NULL;
    qdbg_status status = qdbg__rules_new(rules->ctx, &r);
    if (status != QDBG_OK)
        return status;
    status = copy_all(rules, r);
    if (status == QDBG_OK)
        *out = r;
    else
        qdbg_rules_destroy(r);
    return status;
}

/* ---- compare ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_params(const qdbg__param_entries *a, const qdbg__param_entries *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!same_text(a->at[i].name, b->at[i].name) || a->at[i].quantized != b->at[i].quantized ||
            a->at[i].symmetric != b->at[i].symmetric)
            return false;
    return true;
}

static bool same_bits(qdbg__bits a, qdbg__bits b)
{
    return a.bits == b.bits && a.is_float == b.is_float;
}

static bool same_computes(const qdbg__computes *a, const qdbg__computes *b)
{
    if (a->n != b->n || a->said != b->said)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!same_bits(a->at[i].activation, b->at[i].activation) ||
            !same_bits(a->at[i].param, b->at[i].param))
            return false;
    return true;
}

static bool same_op(const qdbg__op_entry *a, const qdbg__op_entry *b)
{
    return same_text(a->type, b->type) && same_said(&a->said, &b->said) &&
           same_params(&a->params, &b->params) && same_computes(&a->computes, &b->computes);
}

static bool same_group(const qdbg__supergroup *a, const qdbg__supergroup *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!same_text(a->ops[i], b->ops[i]))
            return false;
    return true;
}

int32_t qdbg_rules_equal(const qdbg_rules *a, const qdbg_rules *b)
{
    if (!a || !b || memcmp(&a->defaults, &b->defaults, sizeof a->defaults) != 0 ||
        !same_text(a->hw_version, b->hw_version) || !same_computes(&a->computes, &b->computes) ||
        !same_params(&a->params, &b->params) || !same_group(&a->passes, &b->passes) ||
        a->n_ops != b->n_ops || a->n_groups != b->n_groups)
        return 0;
    for (size_t i = 0; i < a->n_ops; i++)
        if (!same_op(&a->ops[i], &b->ops[i]))
            return 0;
    for (size_t i = 0; i < a->n_groups; i++)
        if (!same_group(&a->groups[i], &b->groups[i]))
            return 0;
    return 1;
}

/* ---- one by one ---- */

/* A name that a file can hold. */
static bool name_good(const char *name)
{
    if (!name || !name[0])
        return false;
    uint32_t c = qdbg__utf8_next(&name);
    while (c != 0 && c != QDBG__UTF8_BAD)
        c = qdbg__utf8_next(&name);
    return c == 0;
}

qdbg_status qdbg_rules_get_defaults(const qdbg_rules *rules, qdbg_rule_defaults *defaults)
{
    if (!rules || !defaults || defaults->struct_size != sizeof *defaults)
        return QDBG_E_INVALID;
    *defaults = rules->defaults;
    return QDBG_OK;
}

qdbg_status qdbg_rules_set_defaults(qdbg_rules *rules, const qdbg_rule_defaults *d)
{
    if (!rules)
        return QDBG_E_INVALID;
    qdbg__clear_error(rules->ctx);
    if (!d)
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "defaults is NULL");
    if (qdbg__rule_defaults_fault(d))
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "defaults: bad field '%s'",
                          qdbg__rule_defaults_fault(d));
    rules->defaults = *d;
    return QDBG_OK;
}

uint32_t qdbg_rules_op_count(const qdbg_rules *rules)
{
    return rules ? (uint32_t)rules->n_ops : 0;
}

const char *qdbg_rules_op_type(const qdbg_rules *rules, uint32_t index)
{
    return rules && index < rules->n_ops ? rules->ops[index].type : NULL;
}

qdbg_status qdbg_rules_get_op(const qdbg_rules *rules, const char *op_type, qdbg_op_rule *rule)
{
    if (!rules || !op_type || !rule || rule->struct_size != sizeof *rule)
        return QDBG_E_INVALID;
    const qdbg__op_entry *op = qdbg__rules_find_op(rules, op_type);
    *rule = op ? op->said : (qdbg_op_rule)QDBG_OP_RULE_INIT;
    return QDBG_OK;
}

qdbg_status qdbg_rules_set_op(qdbg_rules *rules, const char *op_type, const qdbg_op_rule *rule)
{
    if (!rules)
        return QDBG_E_INVALID;
    qdbg__clear_error(rules->ctx);
    if (!name_good(op_type) || !rule)
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "operator rule: %s",
                          rule ? "op_type is NULL, empty or no UTF-8" : "rule is NULL");
    if (qdbg__op_rule_fault(rule))
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "operator rule of '%s': bad field '%s'",
                          op_type, qdbg__op_rule_fault(rule));
    if (says_nothing(rule) && !qdbg__rules_find_op(rules, op_type))
        return QDBG_OK;
    qdbg__op_entry *op = qdbg__rules_op(rules, op_type);
    if (!op)
        return rules->ctx->error_status;
    op->said = *rule;
    if (rule->has_range == 0)
        op->said.min = 0;
    if (rule->has_range != QDBG_RULE_RANGE)
        op->said.max = 0;
    tidy_op(rules, op);
    return QDBG_OK;
}

qdbg_status qdbg_rules_get_param(const qdbg_rules *rules, const char *op_type, const char *param,
                                 qdbg_param_rule *rule)
{
    if (!rules || !param || !rule || rule->struct_size != sizeof *rule)
        return QDBG_E_INVALID;
    const qdbg__op_entry *op = op_type ? qdbg__rules_find_op(rules, op_type) : NULL;
    const qdbg__param_entries *entries = op_type ? (op ? &op->params : NULL) : &rules->params;
    const qdbg__param_entry *entry = entries ? qdbg__rules_find_param(entries, param) : NULL;
    *rule = (qdbg_param_rule)QDBG_PARAM_RULE_INIT;
    if (entry) {
        rule->quantized = entry->quantized;
        rule->symmetric = entry->symmetric;
    }
    return QDBG_OK;
}

static void forget_param(qdbg_ctx *ctx, qdbg__param_entries *p, qdbg__param_entry *entry)
{
    size_t i = (size_t)(entry - p->at);
    qdbg__strfree(ctx, entry->name);
    qdbg__names_drop(ctx, &p->names);
    p->n--;
    memmove(&p->at[i], &p->at[i + 1], (p->n - i) * sizeof *p->at);
}

qdbg_status qdbg_rules_set_param(qdbg_rules *rules, const char *op_type, const char *param,
                                 const qdbg_param_rule *rule)
{
    if (!rules)
        return QDBG_E_INVALID;
    qdbg__clear_error(rules->ctx);
    if (!name_good(param) || (op_type && !name_good(op_type)) || !rule)
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "parameter rule: %s",
                          !rule               ? "rule is NULL"
                          : !name_good(param) ? "param is NULL, empty or no UTF-8"
                                              : "op_type is empty or no UTF-8");
    if (qdbg__param_rule_fault(rule))
        return qdbg__fail(rules->ctx, QDBG_E_INVALID, "parameter rule of '%s': bad field '%s'",
                          param, qdbg__param_rule_fault(rule));
    qdbg_param_rule said = QDBG_PARAM_RULE_INIT;
    bool nothing = rule->quantized == QDBG_RULE_UNSET && rule->symmetric == QDBG_RULE_UNSET;
    qdbg_rules_get_param(rules, op_type, param, &said);
    if (nothing && said.quantized == QDBG_RULE_UNSET && said.symmetric == QDBG_RULE_UNSET)
        return QDBG_OK;
    size_t n_ops = rules->n_ops;
    qdbg__op_entry *op = op_type ? qdbg__rules_op(rules, op_type) : NULL;
    if (op_type && !op)
        return rules->ctx->error_status;
    qdbg__param_entry *entry =
        qdbg__rules_param(rules->ctx, op ? &op->params : &rules->params, param);
    if (!entry && rules->n_ops > n_ops) { /* nothing is said of it after all */
        qdbg__names_drop(rules->ctx, &rules->op_names);
        drop_op(rules->ctx, &rules->ops[--rules->n_ops]);
    }
    if (!entry)
        return rules->ctx->error_status;
    entry->quantized = rule->quantized;
    entry->symmetric = rule->symmetric;
    if (nothing)
        forget_param(rules->ctx, op ? &op->params : &rules->params, entry);
    if (op)
        tidy_op(rules, op);
    return QDBG_OK;
}

/* ---- supergroups ---- */

static qdbg_status copy_names(qdbg_ctx *ctx, const char *const *names, size_t n,
                              qdbg__supergroup *out)
{
    qdbg__supergroup made = {qdbg__alloc(ctx, n, sizeof *made.ops), n};
    qdbg_status status = made.ops ? QDBG_OK : ctx->error_status;
    for (size_t i = 0; i < n && status == QDBG_OK; i++) {
        made.ops[i] = qdbg__strdup(ctx, names[i]);
        status = made.ops[i] ? QDBG_OK : ctx->error_status;
    }
    if (status == QDBG_OK)
        *out = made;
    else
        drop_group(ctx, &made);
    return status;
}

qdbg_status qdbg__rules_set_passes(qdbg_rules *r, const char *const *names, size_t n)
{
    qdbg__supergroup made = {NULL, 0};
    qdbg_status status = n > 0 ? copy_names(r->ctx, names, n, &made) : QDBG_OK;
    if (status != QDBG_OK)
        return status;
    drop_group(r->ctx, &r->passes);
    r->passes = made;
    return QDBG_OK;
}

qdbg_status qdbg_rules_add_supergroup(qdbg_rules *r, const char *const *op_types, uint32_t n)
{
    if (!r)
        return QDBG_E_INVALID;
    qdbg__clear_error(r->ctx);
    for (uint32_t i = 0; op_types && i < n; i++)
        if (!name_good(op_types[i]))
            return qdbg__fail(r->ctx, QDBG_E_INVALID,
                              "supergroup: operator %u has no type, or it is no UTF-8", i);
    if (!op_types || n < 2)
        return qdbg__fail(r->ctx, QDBG_E_INVALID, "a supergroup has at least two operators");
    qdbg_status status =
        qdbg__reserve(r->ctx, &r->groups, &r->groups_capacity, r->n_groups + 1, sizeof *r->groups);
    if (status != QDBG_OK)
        return status;
    status = copy_names(r->ctx, op_types, n, &r->groups[r->n_groups]);
    if (status == QDBG_OK)
        r->n_groups++;
    return status;
}

uint32_t qdbg_rules_supergroup_count(const qdbg_rules *rules)
{
    return rules ? (uint32_t)rules->n_groups : 0;
}

const char *qdbg_rules_supergroup_op(const qdbg_rules *rules, uint32_t index, uint32_t position)
{
    if (!rules || index >= rules->n_groups || position >= rules->groups[index].n)
        return NULL;
    return rules->groups[index].ops[position];
}

qdbg_status qdbg_rules_remove_supergroup(qdbg_rules *rules, uint32_t index)
{
    if (!rules)
        return QDBG_E_INVALID;
    qdbg__clear_error(rules->ctx);
    if (index >= rules->n_groups)
        return qdbg__fail(rules->ctx, QDBG_E_NOT_FOUND, "there is no supergroup %u, only %zu",
                          index, rules->n_groups);
    drop_group(rules->ctx, &rules->groups[index]);
    rules->n_groups--;
    memmove(&rules->groups[index], &rules->groups[index + 1],
            (rules->n_groups - index) * sizeof *rules->groups);
    return QDBG_OK;
}
