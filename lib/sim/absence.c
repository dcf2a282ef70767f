/* Why a value has no quantizer, in words. */
#include "../base/text.h"
#include "sim.h"

void qdbg_absence_info_init(qdbg_absence_info *info)
{
    if (info)
        *info = (qdbg_absence_info)QDBG_ABSENCE_INFO_INIT;
}

static const char *op_type_of(const qdbg_graph *g, uint32_t node)
{
    return node == QDBG_NONE ? "" : g->nodes[node].op_type;
}

uint32_t qdbg__sim_quantizer_on(const qdbg_sim *sim, uint32_t value)
{
    const qdbg__absence *a = &sim->absent[value];
    return a->reason == QDBG_ABSENT_NOT ? a->other : QDBG_NONE;
}

/* The last node of the group that a value is fused into; the operators on the way are listed. */
static uint32_t tell_group(const qdbg_sim *sim, uint32_t value, qdbg__text *t)
{
    const qdbg_graph *g = sim->model->graph;
    qdbg__text list = qdbg__text_make(sim->ctx);
    uint32_t node = g->values[value].producer;
    qdbg__text_add(&list, op_type_of(g, node));
    while (sim->absent[value].reason == QDBG_ABSENT_FUSED) {
        node = sim->absent[value].other;
        value = g->nodes[node].out[0];
        qdbg__text_addf(&list, ", %s", op_type_of(g, node));
    }
    qdbg__text_addf(t, "fused into '%s' (", g->nodes[node].name);
    qdbg__text_add_n(t, list.data, list.size);
    qdbg__text_add(t, ")");
    if (list.status != QDBG_OK)
        t->status = list.status;
    qdbg__text_drop(&list);
    return node;
}

static void tell_param_rule(const qdbg_sim *sim, uint32_t value, const qdbg__absence *a,
                            qdbg__text *t)
{
    const char *name =
        a->by_name ? sim->model->graph->values[value].name : qdbg__role_name(a->role);
    if (a->section == QDBG__SECTION_PARAMS)
        qdbg__text_addf(t, "rule: params.%s has is_quantized False", name);
    else if (a->section == QDBG__SECTION_OP_TYPE)
        qdbg__text_addf(t, "rule: op_type %s has params.%s.is_quantized False",
                        op_type_of(sim->model->graph, a->other), name);
    else
        qdbg__text_add(t, "rule: defaults.params do not have is_quantized True");
}

static void tell_rule(const qdbg_sim *sim, uint32_t value, const qdbg__absence *a, qdbg__text *t)
{
    const qdbg_graph *g = sim->model->graph;
    if (a->role != QDBG__ROLE_NONE)
        tell_param_rule(sim, value, a, t);
    else if (a->section == QDBG__SECTION_OP_TYPE)
        qdbg__text_addf(t, "rule: op_type %s has is_output_quantized False",
                        op_type_of(g, g->values[value].producer));
    else if (a->section == QDBG__SECTION_MODEL_INPUT)
        qdbg__text_add(t, "rule: model_input does not have is_input_quantized True");
    else if (a->section == QDBG__SECTION_MODEL_OUTPUT)
        qdbg__text_add(t, "rule: model_output has is_output_quantized False");
    else
        qdbg__text_add(t, "rule: defaults.ops do not have is_output_quantized True");
}

static void tell_type(const qdbg__value *v, qdbg__text *t)
{
    if (v->dtype == QDBG_DTYPE_NONE)
        qdbg__text_add(t, "not float32");
    else
        qdbg__text_add(t, qdbg_dtype_name(v->dtype));
}

static void tell(const qdbg_sim *sim, uint32_t value, qdbg_absence_info *info, qdbg__text *t)
{
    const qdbg_graph *g = sim->model->graph;
    const qdbg__absence *a = &sim->absent[value];
    switch (a->reason) {
    case QDBG_ABSENT_NOT:
        info->quantizer = qdbg__sim_quantizer_on(sim, value);
        break;
    case QDBG_ABSENT_FUSED:
        info->node = tell_group(sim, value, t);
        break;
    case QDBG_ABSENT_SHARED:
        info->quantizer = qdbg__sim_quantizer_on(sim, a->other);
        qdbg__text_addf(t, "shares the encoding of '%s'", g->values[a->other].name);
        break;
    case QDBG_ABSENT_RULE:
        tell_rule(sim, value, a, t);
        break;
    case QDBG_ABSENT_TYPE:
        tell_type(&g->values[value], t);
        break;
    case QDBG_ABSENT_CONSTANT:
        qdbg__text_add(t, "constant: it does not depend on an input");
        break;
    case QDBG_ABSENT_PARAMETER:
        qdbg__text_add(t, "a parameter that no rule speaks of");
        break;
    case QDBG_ABSENT_SOURCE:
        if (a->role == QDBG__ROLE_BIAS)
            qdbg__text_addf(t, "'%s' has no quantizer on its input or on a constant weight",
                            g->nodes[a->other].name);
        else
            qdbg__text_addf(t, "keeps the encoding of '%s', which has none",
                            g->values[a->other].name);
        break;
    default:
        qdbg__text_add(t, "a bias that is not one number for each channel, or not its own");
    }
}

qdbg_status qdbg_sim_absence(qdbg_sim *sim, uint32_t value, qdbg_absence_info *info)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (!info || info->struct_size != sizeof *info)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "info is NULL or its struct_size is wrong");
    if (value >= sim->model->graph->n_values)
        return qdbg__fail(sim->ctx, QDBG_E_NOT_FOUND, "there is no value %u", value);
    qdbg_absence_info told = QDBG_ABSENCE_INFO_INIT;
    qdbg__text t = qdbg__text_make(sim->ctx);
    told.reason = sim->absent[value].reason;
    told.quantizer = told.node = QDBG_NONE;
    tell(sim, value, &told, &t);
    char *text = qdbg__text_take(&t);
    if (!text)
        return sim->ctx->error_status;
    qdbg__strfree(sim->ctx, sim->absence_text);
    sim->absence_text = text;
    told.text = text;
    *info = told;
    return QDBG_OK;
}
