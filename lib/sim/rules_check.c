/* Which field of a rule is bad, and which rules speak of nothing. */
#include <math.h>
#include <string.h>

#include "../graph/op.h"
#include "rules.h"

/* ---- fields ---- */

typedef struct field {
    const char *name;
    int32_t value, least, most;
} field;

static const char *first_bad(const field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fields[i].value < fields[i].least || fields[i].value > fields[i].most)
            return fields[i].name;
    return NULL;
}

#define ANSWER(s, name)                                  \
    {                                                    \
#name, (s)->name, QDBG_RULE_UNSET, QDBG_RULE_YES \
    }
#define FIRST_BAD(fields) first_bad(fields, sizeof(fields) / sizeof *(fields))

const char *qdbg__rule_defaults_fault(const qdbg_rule_defaults *d)
{
    if (d->struct_size != sizeof *d)
        return "struct_size";
    const field fields[] = {
        ANSWER(d, output_quantized),
        ANSWER(d, output_symmetric),
        ANSWER(d, param_quantized),
        ANSWER(d, param_symmetric),
        ANSWER(d, strict_symmetric),
        ANSWER(d, unsigned_symmetric),
        ANSWER(d, per_channel),
        ANSWER(d, model_input),
        ANSWER(d, model_output),
        ANSWER(d, activation_signed),
        ANSWER(d, weight_signed),
        {"rounding", d->rounding, QDBG_ROUND_NEAREST_EVEN, QDBG_ROUND_NEAREST_AWAY},
        {"reserved", d->reserved != 0, 0, 0},
    };
    return FIRST_BAD(fields);
}

const char *qdbg__op_rule_fault(const qdbg_op_rule *r)
{
    if (r->struct_size != sizeof *r)
        return "struct_size";
    const field fields[] = {
        {"input_quantized", r->input_quantized == QDBG_RULE_NO ? -1 : r->input_quantized,
         QDBG_RULE_UNSET, QDBG_RULE_YES},
        ANSWER(r, output_quantized),
        ANSWER(r, symmetric),
        ANSWER(r, per_channel),
        {"sharing", r->sharing, QDBG_SHARE_UNSET, QDBG_SHARE_ALL},
        {"has_range", r->has_range > QDBG_RULE_MIN, 0, 0},
        {"reserved", r->reserved != 0, 0, 0},
        {"min", r->has_range && !isfinite((float)r->min), 0, 0},
        {"max", r->has_range == QDBG_RULE_RANGE && !(isfinite((float)r->max) && r->max >= r->min),
         0, 0},
    };
    return FIRST_BAD(fields);
}

const char *qdbg__param_rule_fault(const qdbg_param_rule *r)
{
    if (r->struct_size != sizeof *r)
        return "struct_size";
    const field fields[] = {
        ANSWER(r, quantized), ANSWER(r, symmetric), {"reserved", r->reserved != 0, 0, 0}};
    return FIRST_BAD(fields);
}

/* ---- rules and a graph ---- */

#define MOST_WARNINGS 20

typedef struct warner {
    const qdbg_rules *rules;
    const qdbg_graph *graph;
    unsigned told;
} warner;

/* A file may speak of ever so much that matches nothing. */
static bool goes_on(const warner *w)
{
    return w->told < MOST_WARNINGS;
}

static bool has_type(const qdbg_graph *g, const char *type)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i].op_type, type) == 0)
            return true;
    return false;
}

/* Operators that AIMET's own files speak of, and that are not run here. */
static bool is_foreign(const char *type)
{
    static const char *const types[] = {
        "RMSNormalization", "ChannelShuffle", "NonMaxSuppression", "LSTM", "GRU", "RNN", "Mean",
        "Dropout"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i], type) == 0)
            return true;
    return false;
}

static bool is_unknown(const warner *w, const char *type)
{
    return !qdbg__op_find(type) && !is_foreign(type) && !has_type(w->graph, type);
}

static void warn_of_type(warner *w, const char *type, const char *section)
{
    qdbg__log(w->graph->ctx, QDBG_LOG_WARNING,
              "rules: %s: no operator of the library or the graph is a '%s'", section, type);
    w->told++;
}

/* What AIMET calls parameters; the last two have no quantizer in any case. */
static bool is_role(const char *name)
{
    static const char *const roles[] = {"weight", "bias", "running_mean", "running_var"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i], name) == 0)
            return true;
    return false;
}

static void warn_of_params(warner *w, const qdbg__param_entries *params, const char *type)
{
    const qdbg_graph *g = w->graph;
    for (size_t i = 0; i < params->n && goes_on(w); i++) {
        const char *name = params->at[i].name;
        uint32_t value = qdbg_graph_find_value(g, name);
        if (is_role(name) || (value != QDBG_NONE && g->values[value].is_param))
            continue;
        qdbg__log(g->ctx, QDBG_LOG_WARNING,
                  "rules: %s%s%sparams: '%s' is neither \"weight\" nor \"bias\" nor a parameter of "
                  "the graph",
                  type ? "op_type." : "", type ? type : "", type ? "." : "", name);
        w->told++;
    }
}

/* Is an operator of this group the first to be so called? Presets name the same ones often. */
static bool is_new(const qdbg_rules *r, size_t group, size_t position)
{
    const char *type = r->groups[group].ops[position];
    if (qdbg__rules_find_op(r, type))
        return false;
    for (size_t i = 0; i <= group; i++)
        for (size_t k = 0; k < (i == group ? position : r->groups[i].n); k++)
            if (strcmp(r->groups[i].ops[k], type) == 0)
                return false;
    return true;
}

static void warn_of_groups(warner *w)
{
    for (size_t i = 0; i < w->rules->n_groups; i++)
        for (size_t k = 0; k < w->rules->groups[i].n && goes_on(w); k++) {
            const char *type = w->rules->groups[i].ops[k];
            if (is_unknown(w, type) && is_new(w->rules, i, k))
                warn_of_type(w, type, "supergroups");
        }
}

void qdbg__rules_warn(const qdbg_rules *r, const qdbg_graph *g)
{
    warner w = {r, g, 0};
    warn_of_params(&w, &r->params, NULL);
    for (size_t i = 0; i < r->n_ops && goes_on(&w); i++) {
        if (is_unknown(&w, r->ops[i].type))
            warn_of_type(&w, r->ops[i].type, "op_type");
        warn_of_params(&w, &r->ops[i].params, r->ops[i].type);
    }
    warn_of_groups(&w);
    if (!goes_on(&w))
        qdbg__log(g->ctx, QDBG_LOG_WARNING, "rules: maybe more that matches nothing");
}
