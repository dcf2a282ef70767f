/* Rule sets from AIMET's configuration files. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../base/reason.h"
#include "rules.h"

#define MOST_BYTES ((size_t)16 << 20)

/* ---- places in the file ---- */

typedef struct where {
    const struct where *up; /* NULL: the top */
    const char *key;        /* NULL: an element of an array */
    size_t index;
} where;

/* "op_type.Conv.params", "supergroups[2].op_list": as much as there is room for. */
static size_t write_path(const where *at, char *path, size_t size)
{
    if (!at->up)
        return 0;
    size_t n = write_path(at->up, path, size);
    if (n >= size)
        return n;
    int more = at->key ? snprintf(path + n, size - n, "%s%s", n ? "." : "", at->key)
                       : snprintf(path + n, size - n, "[%zu]", at->index);
    return n + (more > 0 ? (size_t)more : 0);
}

static qdbg_status fail_at(qdbg_rules *r, const where *at, const char *what)
{
    char path[QDBG__NAME_SIZE] = "";
    write_path(at, path, sizeof path);
    return qdbg__fail(r->ctx, QDBG_E_FORMAT, "configuration: %s: %s", path[0] ? path : "the file",
                      what);
}

static qdbg_status unknown(qdbg_rules *r, const where *at)
{
    return fail_at(r, at, "unknown key");
}

/* ---- kinds of values ---- */

typedef qdbg_status (*read_fn)(qdbg_rules *r, const where *at, const json_t *value, void *to);

static qdbg_status read_members(qdbg_rules *r, const where *at, const json_t *value, read_fn read,
                                void *to)
{
    if (!json_is_object(value))
        return fail_at(r, at, "wants an object");
    json_t *object = (json_t *)value; /* iterating changes nothing */
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        where below = {at, json_object_iter_key(it), 0};
        qdbg_status status = read(r, &below, json_object_iter_value(it), to);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

static qdbg_status read_elements(qdbg_rules *r, const where *at, const json_t *value, read_fn read,
                                 void *to)
{
    if (!json_is_array(value))
        return fail_at(r, at, "wants an array");
    for (size_t i = 0; i < json_array_size(value); i++) {
        where below = {at, NULL, i};
        qdbg_status status = read(r, &below, json_array_get(value, i), to);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

static qdbg_status read_answer(qdbg_rules *r, const where *at, const json_t *value, int32_t *answer)
{
    const char *text = json_string_value(value);
    if (!text || (strcmp(text, "True") != 0 && strcmp(text, "False") != 0))
        return fail_at(r, at, "wants \"True\" or \"False\"");
    *answer = text[0] == 'T' ? QDBG_RULE_YES : QDBG_RULE_NO;
    return QDBG_OK;
}

static qdbg_status read_number(qdbg_rules *r, const where *at, const json_t *value, double *number)
{
    if (!json_is_number(value) || !isfinite((float)json_number_value(value)))
        return fail_at(r, at, "wants a number that float32 can hold");
    *number = json_number_value(value);
    return QDBG_OK;
}

/* One of `names`, whose number is written to *chosen. */
static qdbg_status read_choice(qdbg_rules *r, const where *at, const json_t *value,
                               const char *const *names, int32_t n, int32_t *chosen)
{
    char wants[128];
    const char *text = json_string_value(value);
    for (int32_t i = 0; i < n && text; i++)
        if (strcmp(names[i], text) == 0) {
            *chosen = i;
            return QDBG_OK;
        }
    int used = snprintf(wants, sizeof wants, "wants ");
    for (int32_t i = 0; i < n; i++)
        used += snprintf(wants + used, sizeof wants - (size_t)used, "%s\"%s\"", i ? " or " : "",
                         names[i]);
    return fail_at(r, at, wants);
}

/* ---- supported_kernels ---- */

static qdbg_status read_bits_member(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    static const char *const dtypes[] = {"int", "float"};
    qdbg__bits *bits = to;
    if (strcmp(at->key, "bitwidth") == 0) {
        if (!json_is_integer(value) || json_integer_value(value) < 1 ||
            json_integer_value(value) > 64)
            return fail_at(r, at, "wants a whole number from 1 to 64");
        bits->bits = (uint32_t)json_integer_value(value);
        return QDBG_OK;
    }
    if (strcmp(at->key, "dtype") != 0)
        return unknown(r, at);
    int32_t dtype = 0;
    qdbg_status status = read_choice(r, at, value, dtypes, 2, &dtype);
    if (status == QDBG_OK)
        bits->is_float = dtype == 1;
    return status;
}

static qdbg_status read_compute_member(qdbg_rules *r, const where *at, const json_t *value,
                                       void *to)
{
    qdbg__compute *compute = to;
    qdbg__bits *bits = NULL;
    if (strcmp(at->key, "activation") == 0)
        bits = &compute->activation;
    else if (strcmp(at->key, "param") == 0)
        bits = &compute->param;
    else
        return unknown(r, at);
    qdbg_status status = read_members(r, at, value, read_bits_member, bits);
    if (status == QDBG_OK && (bits->bits == 0 || !json_object_get(value, "dtype")))
        return fail_at(r, at, "wants a bitwidth and a dtype");
    return status;
}

static qdbg_status read_compute(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg__compute compute = {0};
    qdbg_status status = read_members(r, at, value, read_compute_member, &compute);
    return status == QDBG_OK ? qdbg__rules_add_compute(r->ctx, to, compute) : status;
}

static qdbg_status read_computes(qdbg_rules *r, const where *at, const json_t *value,
                                 qdbg__computes *to)
{
    to->said = true;
    return read_elements(r, at, value, read_compute, to);
}

/* ---- parameters ---- */

static qdbg_status read_param_member(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg__param_entry *entry = to;
    if (strcmp(at->key, "is_quantized") == 0)
        return read_answer(r, at, value, &entry->quantized);
    if (strcmp(at->key, "is_symmetric") == 0)
        return read_answer(r, at, value, &entry->symmetric);
    return unknown(r, at);
}

static qdbg_status read_param(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    if (!at->key[0])
        return fail_at(r, at, "a parameter has no name");
    qdbg__param_entry *entry = qdbg__rules_param(r->ctx, to, at->key);
    return entry ? read_members(r, at, value, read_param_member, entry) : r->ctx->error_status;
}

/* ---- defaults ---- */

static qdbg_status read_default_ops(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg_rule_defaults *d = to;
    if (strcmp(at->key, "is_output_quantized") == 0)
        return read_answer(r, at, value, &d->output_quantized);
    if (strcmp(at->key, "is_symmetric") == 0)
        return read_answer(r, at, value, &d->output_symmetric);
    return unknown(r, at);
}

static qdbg_status read_default_params(qdbg_rules *r, const where *at, const json_t *value,
                                       void *to)
{
    qdbg_rule_defaults *d = to;
    if (strcmp(at->key, "is_quantized") == 0)
        return read_answer(r, at, value, &d->param_quantized);
    if (strcmp(at->key, "is_symmetric") == 0)
        return read_answer(r, at, value, &d->param_symmetric);
    return unknown(r, at);
}

static qdbg_status read_hw_version(qdbg_rules *r, const where *at, const json_t *value)
{
    if (!json_is_string(value))
        return fail_at(r, at, "wants a string");
    r->hw_version = qdbg__strdup(r->ctx, json_string_value(value));
    return r->hw_version ? QDBG_OK : r->ctx->error_status;
}

static qdbg_status read_default(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg_rule_defaults *d = to;
    if (strcmp(at->key, "ops") == 0)
        return read_members(r, at, value, read_default_ops, d);
    if (strcmp(at->key, "params") == 0)
        return read_members(r, at, value, read_default_params, d);
    if (strcmp(at->key, "strict_symmetric") == 0)
        return read_answer(r, at, value, &d->strict_symmetric);
    if (strcmp(at->key, "unsigned_symmetric") == 0)
        return read_answer(r, at, value, &d->unsigned_symmetric);
    if (strcmp(at->key, "per_channel_quantization") == 0)
        return read_answer(r, at, value, &d->per_channel);
    if (strcmp(at->key, "hw_version") == 0)
        return read_hw_version(r, at, value);
    if (strcmp(at->key, "supported_kernels") == 0)
        return read_computes(r, at, value, &r->computes);
    return unknown(r, at);
}

/* ---- operator types ---- */

static qdbg_status read_range_end(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg_op_rule *said = to;
    if (strcmp(at->key, "min") == 0)
        return read_number(r, at, value, &said->min);
    if (strcmp(at->key, "max") == 0)
        return read_number(r, at, value, &said->max);
    return unknown(r, at);
}

static qdbg_status read_range(qdbg_rules *r, const where *at, const json_t *value,
                              qdbg_op_rule *said)
{
    qdbg_status status = read_members(r, at, value, read_range_end, said);
    if (status != QDBG_OK)
        return status;
    bool both = json_object_get(value, "max") != NULL;
    said->has_range = both ? QDBG_RULE_RANGE : QDBG_RULE_MIN;
    if (!json_object_get(value, "min") || (both && said->min > said->max))
        return fail_at(r, at, "wants min, or min and max, in this order");
    return QDBG_OK;
}

static qdbg_status read_op_member(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg__op_entry *op = to;
    if (strcmp(at->key, "is_input_quantized") == 0) {
        qdbg_status status = read_answer(r, at, value, &op->said.input_quantized);
        if (status == QDBG_OK && op->said.input_quantized != QDBG_RULE_YES)
            return fail_at(r, at, "can only be \"True\"");
        return status;
    }
    if (strcmp(at->key, "is_output_quantized") == 0)
        return read_answer(r, at, value, &op->said.output_quantized);
    if (strcmp(at->key, "is_symmetric") == 0)
        return read_answer(r, at, value, &op->said.symmetric);
    if (strcmp(at->key, "per_channel_quantization") == 0)
        return read_answer(r, at, value, &op->said.per_channel);
    if (strcmp(at->key, "params") == 0)
        return read_members(r, at, value, read_param, &op->params);
    if (strcmp(at->key, "supported_kernels") == 0)
        return read_computes(r, at, value, &op->computes);
    if (strcmp(at->key, "encoding_constraints") == 0)
        return read_range(r, at, value, &op->said);
    return unknown(r, at);
}

static qdbg_status read_op(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    (void)to;
    if (!at->key[0])
        return fail_at(r, at, "an operator type has no name");
    qdbg__op_entry *op = qdbg__rules_op(r, at->key);
    return op ? read_members(r, at, value, read_op_member, op) : r->ctx->error_status;
}

/* ---- supergroups ---- */

static qdbg_status read_group_op(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    const char ***next = to;
    const char *type = json_string_value(value);
    if (!type || !type[0])
        return fail_at(r, at, "wants an operator type");
    *(*next)++ = type;
    return QDBG_OK;
}

static qdbg_status read_pass(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    const char ***next = to;
    if (!json_is_string(value))
        return fail_at(r, at, "wants the name of a pass");
    if (strcmp(json_string_value(value), "MatmulAdd") != 0) /* what placement does in any case */
        qdbg__log(r->ctx, QDBG_LOG_WARNING,
                  "configuration: supergroup_pass_list: '%s' is kept, but not applied: the values "
                  "that it fuses have quantizers",
                  json_string_value(value));
    *(*next)++ = json_string_value(value);
    return QDBG_OK;
}

static qdbg_status read_op_list(qdbg_rules *r, const where *at, const json_t *value)
{
    size_t n = json_array_size(value); /* 0 where it is none */
    if (n < 2)
        return fail_at(r, at, "wants an array of at least two operator types");
    const char **types = qdbg__alloc(r->ctx, n, sizeof *types), **next = types;
    if (!types)
        return r->ctx->error_status;
    qdbg_status status = read_elements(r, at, value, read_group_op, &next);
    if (status == QDBG_OK)
        status = qdbg_rules_add_supergroup(r, types, (uint32_t)n);
    qdbg__free(r->ctx, types, n, sizeof *types);
    return status;
}

static qdbg_status read_group_member(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    (void)to;
    return strcmp(at->key, "op_list") == 0 ? read_op_list(r, at, value) : unknown(r, at);
}

static qdbg_status read_group(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    qdbg_status status = read_members(r, at, value, read_group_member, to);
    if (status == QDBG_OK && !json_object_get(value, "op_list"))
        return fail_at(r, at, "wants an op_list");
    return status;
}

static qdbg_status read_passes(qdbg_rules *r, const where *at, const json_t *value)
{
    size_t n = json_array_size(value); /* 0 where it is none */
    const char **names = qdbg__alloc(r->ctx, n, sizeof *names), **next = names;
    if (!names)
        return r->ctx->error_status;
    qdbg_status status = read_elements(r, at, value, read_pass, &next);
    if (status == QDBG_OK)
        status = qdbg__rules_set_passes(r, names, n);
    qdbg__free(r->ctx, names, n, sizeof *names);
    return status;
}

/* ---- our own section ---- */

static qdbg_status read_own_op_member(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    static const char *const kinds[] = {"none", "input", "all"};
    qdbg__op_entry *op = to;
    int32_t kind = 0;
    if (strcmp(at->key, "sharing") != 0)
        return unknown(r, at);
    qdbg_status status = read_choice(r, at, value, kinds, 3, &kind);
    if (status == QDBG_OK)
        op->said.sharing = QDBG_SHARE_NONE + kind;
    return status;
}

static qdbg_status read_own_op(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    (void)to;
    if (!at->key[0])
        return fail_at(r, at, "an operator type has no name");
    qdbg__op_entry *op = qdbg__rules_op(r, at->key);
    return op ? read_members(r, at, value, read_own_op_member, op) : r->ctx->error_status;
}

static qdbg_status read_own(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    static const char *const rules[] = {"nearest_even", "nearest_up", "nearest_away"};
    (void)to;
    if (strcmp(at->key, "rounding") == 0)
        return read_choice(r, at, value, rules, 3, &r->defaults.rounding);
    if (strcmp(at->key, "activation_signed") == 0)
        return read_answer(r, at, value, &r->defaults.activation_signed);
    if (strcmp(at->key, "weight_signed") == 0)
        return read_answer(r, at, value, &r->defaults.weight_signed);
    if (strcmp(at->key, "op_type") == 0)
        return read_members(r, at, value, read_own_op, NULL);
    return unknown(r, at);
}

/* ---- the whole ---- */

static qdbg_status read_model_input(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    (void)to;
    return strcmp(at->key, "is_input_quantized") == 0
               ? read_answer(r, at, value, &r->defaults.model_input)
               : unknown(r, at);
}

static qdbg_status read_model_output(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    (void)to;
    return strcmp(at->key, "is_output_quantized") == 0
               ? read_answer(r, at, value, &r->defaults.model_output)
               : unknown(r, at);
}

static qdbg_status read_section(qdbg_rules *r, const where *at, const json_t *value, void *to)
{
    (void)to;
    if (strcmp(at->key, "defaults") == 0)
        return read_members(r, at, value, read_default, &r->defaults);
    if (strcmp(at->key, "params") == 0)
        return read_members(r, at, value, read_param, &r->params);
    if (strcmp(at->key, "op_type") == 0)
        return read_members(r, at, value, read_op, NULL);
    if (strcmp(at->key, "supergroups") == 0)
        return read_elements(r, at, value, read_group, NULL);
    if (strcmp(at->key, "supergroup_pass_list") == 0)
        return read_passes(r, at, value);
    if (strcmp(at->key, "model_input") == 0)
        return read_members(r, at, value, read_model_input, NULL);
    if (strcmp(at->key, "model_output") == 0)
        return read_members(r, at, value, read_model_output, NULL);
    if (strcmp(at->key, "qdebug") == 0)
        return read_members(r, at, value, read_own, NULL);
    return unknown(r, at);
}

static qdbg_status fail_parse(qdbg_ctx *ctx, const json_error_t *error)
{
    if (json_error_code(error) == json_error_out_of_memory)
        return qdbg__fail(ctx, QDBG_E_NOMEM, "no memory for the configuration");
    return qdbg__fail(ctx, QDBG_E_FORMAT, "configuration: line %d, column %d: %s", error->line,
                      error->column, error->text);
}

static qdbg_status load(qdbg_ctx *ctx, const void *data, size_t size, qdbg_rules **out)
{
    static const where top = {NULL, NULL, 0};
    json_error_t error;
    json_t *json = json_loadb(data, size, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        return fail_parse(ctx, &error);
    qdbg_rules *r = NULL;
    qdbg_status status = qdbg__rules_new(ctx, &r);
    if (status == QDBG_OK)
        status = read_members(r, &top, json, read_section, NULL);
    json_decref(json);
    if (status == QDBG_OK)
        *out = r;
    else
        qdbg_rules_destroy(r);
    return status;
}

qdbg_status qdbg_rules_load_memory(qdbg_ctx *ctx, const void *data, size_t size, qdbg_rules **out)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if ((!data && size > 0) || !out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "data or out is NULL");
    return load(ctx, data ? data : "", size, out);
}

/* ---- files ---- */

static qdbg_status fail_io(qdbg_ctx *ctx, const char *verb, const char *path, int error)
{
    char text[QDBG__REASON_SIZE];
    return qdbg__fail(ctx, QDBG_E_IO, "cannot %s '%s': %s", verb, path,
                      qdbg__reason(error, false, text));
}

static qdbg_status read_file(qdbg_ctx *ctx, FILE *file, const char *path, char **data,
                             size_t *capacity, size_t *size)
{
    qdbg_status status = QDBG_OK;
    size_t n = 1;
    while (status == QDBG_OK && n > 0) {
        if (*size > MOST_BYTES)
            return qdbg__fail(ctx, QDBG_E_LIMIT, "configuration: more than 16 MiB: '%s'", path);
        status = qdbg__reserve(ctx, data, capacity, *size + 4096, 1);
        n = status == QDBG_OK ? fread(*data + *size, 1, *capacity - *size, file) : 0;
        *size += n;
    }
    if (status == QDBG_OK && ferror(file))
        return fail_io(ctx, "read", path, errno);
    return status;
}

qdbg_status qdbg_rules_load_file(qdbg_ctx *ctx, const char *path, qdbg_rules **out)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!path || !out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "path or out is NULL");
    FILE *file = fopen(path, "rb");
    if (!file)
        return fail_io(ctx, "open", path, errno);
    char *data = NULL;
    size_t capacity = 0, size = 0;
    qdbg_status status = read_file(ctx, file, path, &data, &capacity, &size);
    fclose(file);
    if (status == QDBG_OK)
        status = load(ctx, data, size, out);
    qdbg__free(ctx, data, capacity, 1);
    return status;
}
