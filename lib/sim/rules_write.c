/* Rule sets as AIMET's configuration files. */
#include <stdio.h>
#include <string.h>

#include "../base/text.h"
#include "rules.h"

#define INDENT 4

/* A JSON text that is being written: commas and indentation look after themselves. */
typedef struct writer {
    qdbg__text text;
    size_t depth;
    bool first; /* of its object or array */
} writer;

static void write_string(writer *w, const char *s)
{
    qdbg__text_add(&w->text, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            qdbg__text_addf(&w->text, "\\%c", c);
        else if (c < 0x20)
            qdbg__text_addf(&w->text, "\\u%04x", c);
        else
            qdbg__text_add_n(&w->text, s, 1);
    }
    qdbg__text_add(&w->text, "\"");
}

static void begin_line(writer *w)
{
    qdbg__text_add(&w->text, w->first ? "\n" : ",\n");
    qdbg__text_repeat(&w->text, ' ', w->depth * INDENT);
    w->first = false;
}

static void write_key(writer *w, const char *key)
{
    begin_line(w);
    write_string(w, key);
    qdbg__text_add(&w->text, ": ");
}

static void open(writer *w, const char *bracket)
{
    qdbg__text_add(&w->text, bracket);
    w->depth++;
    w->first = true;
}

static void close(writer *w, const char *bracket)
{
    w->depth--;
    if (!w->first) {
        w->first = true;
        begin_line(w);
    }
    qdbg__text_add(&w->text, bracket);
    w->first = false;
}

static void open_member(writer *w, const char *key, const char *bracket)
{
    write_key(w, key);
    open(w, bracket);
}

static void write_answer(writer *w, const char *key, int32_t answer)
{
    if (answer == QDBG_RULE_UNSET)
        return;
    write_key(w, key);
    write_string(w, answer == QDBG_RULE_YES ? "True" : "False");
}

/* ---- the parts ---- */

static void write_bits(writer *w, const char *key, const qdbg__bits *bits)
{
    if (bits->bits == 0)
        return;
    open_member(w, key, "{");
    write_key(w, "bitwidth");
    qdbg__text_addf(&w->text, "%u", bits->bits);
    write_key(w, "dtype");
    write_string(w, bits->is_float ? "float" : "int");
    close(w, "}");
}

static void write_computes(writer *w, const qdbg__computes *computes)
{
    if (!computes->said)
        return;
    open_member(w, "supported_kernels", "[");
    for (size_t i = 0; i < computes->n; i++) {
        begin_line(w);
        open(w, "{");
        write_bits(w, "activation", &computes->at[i].activation);
        write_bits(w, "param", &computes->at[i].param);
        close(w, "}");
    }
    close(w, "]");
}

static void write_params(writer *w, const qdbg__param_entries *params)
{
    open_member(w, "params", "{");
    for (size_t i = 0; i < params->n; i++) {
        open_member(w, params->at[i].name, "{");
        write_answer(w, "is_quantized", params->at[i].quantized);
        write_answer(w, "is_symmetric", params->at[i].symmetric);
        close(w, "}");
    }
    close(w, "}");
}

static void write_defaults(writer *w, const qdbg_rules *r)
{
    const qdbg_rule_defaults *d = &r->defaults;
    open_member(w, "defaults", "{");
    open_member(w, "ops", "{");
    write_answer(w, "is_output_quantized", d->output_quantized);
    write_answer(w, "is_symmetric", d->output_symmetric);
    close(w, "}");
    open_member(w, "params", "{");
    write_answer(w, "is_quantized", d->param_quantized);
    write_answer(w, "is_symmetric", d->param_symmetric);
    close(w, "}");
    write_answer(w, "strict_symmetric", d->strict_symmetric);
    write_answer(w, "unsigned_symmetric", d->unsigned_symmetric);
    write_answer(w, "per_channel_quantization", d->per_channel);
    if (r->hw_version) {
        write_key(w, "hw_version");
        write_string(w, r->hw_version);
    }
    write_computes(w, &r->computes);
    close(w, "}");
}

static void write_op(writer *w, const qdbg__op_entry *op)
{
    open_member(w, op->type, "{");
    write_answer(w, "is_input_quantized", op->said.input_quantized);
    write_answer(w, "is_output_quantized", op->said.output_quantized);
    write_answer(w, "is_symmetric", op->said.symmetric);
    write_answer(w, "per_channel_quantization", op->said.per_channel);
    if (op->params.n > 0)
        write_params(w, &op->params);
    write_computes(w, &op->computes);
    if (op->said.has_range) {
        open_member(w, "encoding_constraints", "{");
        write_key(w, "min");
        qdbg__text_double(&w->text, op->said.min);
        if (op->said.has_range == QDBG_RULE_RANGE) {
            write_key(w, "max");
            qdbg__text_double(&w->text, op->said.max);
        }
        close(w, "}");
    }
    close(w, "}");
}

static void write_names(writer *w, const char *key, const qdbg__supergroup *names)
{
    write_key(w, key);
    for (size_t i = 0; i < names->n; i++) {
        qdbg__text_add(&w->text, i ? ", " : "[");
        write_string(w, names->ops[i]);
    }
    qdbg__text_add(&w->text, "]");
}

static void write_groups(writer *w, const qdbg_rules *r)
{
    open_member(w, "supergroups", "[");
    for (size_t i = 0; i < r->n_groups; i++) {
        begin_line(w);
        open(w, "{");
        write_names(w, "op_list", &r->groups[i]);
        close(w, "}");
    }
    close(w, "]");
}

/* ---- our own section ---- */

static bool bits_good(const qdbg__bits *b)
{
    return b->bits == 32 || b->bits == 16 || (!b->is_float && (b->bits == 8 || b->bits == 4));
}

static bool computes_good(const qdbg__computes *c, bool wants_param)
{
    for (size_t i = 0; i < c->n; i++)
        if (!bits_good(&c->at[i].activation) ||
            ((wants_param || c->at[i].param.bits) && !bits_good(&c->at[i].param)))
            return false;
    return c->n > 0 || !c->said;
}

/* Is there anything for our own section? */
static bool says_more(const qdbg_rules *r)
{
    const qdbg_rule_defaults *d = &r->defaults;
    bool more = d->rounding != QDBG_ROUND_NEAREST_EVEN || d->activation_signed || d->weight_signed;
    for (size_t i = 0; i < r->n_ops && !more; i++)
        more = r->ops[i].said.sharing != QDBG_SHARE_UNSET;
    return more;
}

/* Tell each thing that the format has no word for, or that AIMET refuses. @return their number */
static size_t each_extra(const qdbg_rules *r, void (*tell)(void *user, const char *what),
                         void *user)
{
    const qdbg_rule_defaults *d = &r->defaults;
    char what[QDBG__NAME_SIZE];
    const struct {
        bool is_said;
        const char *what;
    } defaults[] = {
        {d->output_quantized == QDBG_RULE_NO, "that outputs are not quantized by default"},
        {d->model_input == QDBG_RULE_NO, "that graph inputs are not quantized"},
        {d->model_output == QDBG_RULE_NO, "that graph outputs are not quantized"},
        {!computes_good(&r->computes, true), "such supported_kernels"},
        {d->rounding != QDBG_ROUND_NEAREST_EVEN, "a rounding"},
        {d->activation_signed != QDBG_RULE_UNSET, "the sign of activations"},
        {d->weight_signed != QDBG_RULE_UNSET, "the sign of weights"},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        if (defaults[i].is_said && tell)
            tell(user, defaults[i].what);
        n += defaults[i].is_said;
    }
    for (size_t i = 0; i < 2 * r->n_ops; i++) {
        const qdbg__op_entry *op = &r->ops[i / 2];
        bool sharing = i % 2 == 0;
        if (sharing ? op->said.sharing == QDBG_SHARE_UNSET : computes_good(&op->computes, false))
            continue;
        snprintf(what, sizeof what,
                 sharing ? "how %s shares encodings" : "such supported_kernels of %s", op->type);
        if (tell)
            tell(user, what);
        n++;
    }
    return n;
}

static void lose_no(int32_t *answer)
{
    if (*answer == QDBG_RULE_NO)
        *answer = QDBG_RULE_UNSET;
}

static void lose_computes(qdbg__computes *c, bool wants_param)
{
    if (computes_good(c, wants_param))
        return;
    c->n = 0;
    c->said = false;
}

/* An operator of which nothing else was said is forgotten. */
static bool lose_op(qdbg__op_entry *op)
{
    if (op->said.sharing == QDBG_SHARE_UNSET && computes_good(&op->computes, false))
        return false;
    op->said.sharing = QDBG_SHARE_UNSET;
    lose_computes(&op->computes, false);
    return qdbg__op_says_nothing(op);
}

/* Say no more than AIMET reads. */
static void lose_extras(qdbg_rules *r)
{
    lose_no(&r->defaults.output_quantized);
    lose_no(&r->defaults.model_input);
    lose_no(&r->defaults.model_output);
    lose_computes(&r->computes, true);
    r->defaults.rounding = QDBG_ROUND_NEAREST_EVEN;
    r->defaults.activation_signed = r->defaults.weight_signed = QDBG_RULE_UNSET;
    qdbg__rules_sift(r, lose_op);
}

static void add_to_list(void *user, const char *what)
{
    qdbg__text *list = user;
    qdbg__text_addf(list, "%s%s", list->size ? ", " : "", what);
}

static qdbg_status refuse_extras(const qdbg_rules *r)
{
    qdbg__text list = qdbg__text_make(r->ctx);
    each_extra(r, add_to_list, &list);
    char *text = qdbg__text_take(&list);
    if (!text)
        return r->ctx->error_status;
    qdbg__fail(r->ctx, QDBG_E_UNSUPPORTED, "AIMET's format cannot say %s", text);
    qdbg__strfree(r->ctx, text);
    return QDBG_E_UNSUPPORTED;
}

static void warn_of_loss(void *user, const char *what)
{
    qdbg__log(user, QDBG_LOG_WARNING, "configuration: left out, AIMET's format cannot say it: %s",
              what);
}

static void write_own(writer *w, const qdbg_rules *r)
{
    static const char *const rounding[] = {"nearest_even", "nearest_up", "nearest_away"};
    static const char *const sharing[] = {"", "none", "input", "all"};
    open_member(w, "qdebug", "{");
    if (r->defaults.rounding != QDBG_ROUND_NEAREST_EVEN) {
        write_key(w, "rounding");
        write_string(w, rounding[r->defaults.rounding]);
    }
    write_answer(w, "activation_signed", r->defaults.activation_signed);
    write_answer(w, "weight_signed", r->defaults.weight_signed);
    open_member(w, "op_type", "{");
    for (size_t i = 0; i < r->n_ops; i++) {
        if (r->ops[i].said.sharing == QDBG_SHARE_UNSET)
            continue;
        open_member(w, r->ops[i].type, "{");
        write_key(w, "sharing");
        write_string(w, sharing[r->ops[i].said.sharing]);
        close(w, "}");
    }
    close(w, "}");
    close(w, "}");
}

/* ---- the whole ---- */

static void write_all(writer *w, const qdbg_rules *r)
{
    open(w, "{");
    write_defaults(w, r);
    write_params(w, &r->params);
    open_member(w, "op_type", "{");
    for (size_t i = 0; i < r->n_ops; i++)
        write_op(w, &r->ops[i]);
    close(w, "}");
    if (r->passes.n > 0)
        write_names(w, "supergroup_pass_list", &r->passes);
    write_groups(w, r);
    open_member(w, "model_input", "{");
    write_answer(w, "is_input_quantized", r->defaults.model_input);
    close(w, "}");
    open_member(w, "model_output", "{");
    write_answer(w, "is_output_quantized", r->defaults.model_output);
    close(w, "}");
    if (says_more(r))
        write_own(w, r);
    close(w, "}");
    qdbg__text_add(&w->text, "\n");
}

static qdbg_status hand_over(qdbg_ctx *ctx, const qdbg__text *made, char *text, size_t size,
                             size_t *length)
{
    *length = made->size;
    if (size == 0)
        return QDBG_OK;
    if (made->size >= size)
        return qdbg__fail(ctx, QDBG_E_LIMIT, "the configuration takes %zu bytes, there are %zu",
                          made->size + 1, size);
    memcpy(text, made->data, made->size);
    text[made->size] = 0;
    return QDBG_OK;
}

static qdbg_status write_text(const qdbg_rules *r, char *text, size_t size, size_t *length)
{
    writer w = {.text = qdbg__text_make(r->ctx)};
    write_all(&w, r);
    qdbg_status status = w.text.status;
    if (status == QDBG_OK)
        status = hand_over(r->ctx, &w.text, text, size, length);
    qdbg__text_drop(&w.text);
    return status;
}

qdbg_status qdbg_rules_write(const qdbg_rules *r, uint32_t flags, char *text, size_t size,
                             size_t *length)
{
    if (!r)
        return QDBG_E_INVALID;
    qdbg__clear_error(r->ctx);
    const uint32_t lossy = QDBG_RULES_AIMET | QDBG_RULES_LOSSY;
    if ((!text && size > 0) || !length)
        return qdbg__fail(r->ctx, QDBG_E_INVALID, "text or length is NULL");
    if (flags != 0 && flags != QDBG_RULES_AIMET && flags != lossy)
        return qdbg__fail(r->ctx, QDBG_E_INVALID,
                          "flags %#x are neither 0 nor QDBG_RULES_AIMET, alone or with "
                          "QDBG_RULES_LOSSY",
                          flags);
    if (flags == QDBG_RULES_AIMET && each_extra(r, NULL, NULL) > 0)
        return refuse_extras(r);
    if (flags != lossy)
        return write_text(r, text, size, length);
    qdbg_rules *rest = NULL;
    qdbg_status status = qdbg_rules_copy(r, &rest);
    if (status != QDBG_OK)
        return status;
    lose_extras(rest);
    status = write_text(rest, text, size, length);
    qdbg_rules_destroy(rest);
    if (status == QDBG_OK && size > 0)
        each_extra(r, warn_of_loss, r->ctx);
    return status;
}
