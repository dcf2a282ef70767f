#include "listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"

/* Columns that names and operators may take; longer ones push the rest of their line aside. */
#define WIDEST 40

typedef struct listing {
    qdbg_ctx *ctx;
    qdbg_sim *sim;
    const qdbg_graph *graph;
    uint8_t *seen; /* [values] of those that have their line */
    int name_width, op_width;
    bool measuring;     /* columns are measured, nothing is written */
    unsigned placed[3]; /* weights, activations, biases */
    unsigned without;
    unsigned constants; /* that have no line of their own */
} listing;

static const char *kind_name(int32_t kind)
{
    return kind == QDBG_WEIGHT ? "weight" : kind == QDBG_BIAS ? "bias" : "activation";
}

/* "int8 strict symmetric, 16 scales"; a bypassed one is "float32". */
static void describe_grid(const qdbg_quantizer_info *q, char *text, size_t size)
{
    static const char *const symmetry[] = {"asymmetric", "symmetric", "strict symmetric"};
    if (q->spec.bits == QDBG_BITS_BYPASS && q->kind != QDBG_BIAS) {
        snprintf(text, size, "float32");
        return;
    }
    const char *sign = q->spec.is_signed == QDBG_SIGNED ? "" : "u";
    if (q->spec.granularity == QDBG_PER_CHANNEL && q->n_encodings > 0)
        snprintf(text, size, "%sint%u %s, %u scales", sign, q->spec.bits,
                 symmetry[q->spec.symmetry], q->n_encodings);
    else
        snprintf(text, size, "%sint%u %s", sign, q->spec.bits, symmetry[q->spec.symmetry]);
}

/* Padded to `width` columns; a file may bring control characters along. */
static void put(const char *text, int width)
{
    int n = 0;
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        putchar(c < 32 || c == 127 ? '?' : c);
        n += (c & 0xc0) != 0x80; /* not the inside of a UTF-8 character */
    }
    for (; n < width; n++)
        putchar(' ');
}

static void put_quoted(const listing *l, uint32_t quantizer)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    if (qdbg_sim_quantizer(l->sim, quantizer, &q) != QDBG_OK)
        return;
    putchar('\'');
    put(q.name, 0);
    putchar('\'');
}

static void put_note(const listing *l, uint32_t index, const qdbg_quantizer_info *q)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    if (q->kind == QDBG_BIAS) {
        printf("scale of ");
        put_quoted(l, q->from_input);
        printf(" times ");
        put_quoted(l, q->from_weight);
    } else if (q->group != index) {
        printf("shares the encoding of ");
        put_quoted(l, q->group);
    } else if (q->has_fixed_range == QDBG_RULE_RANGE &&
               qdbg_sim_encoding(l->sim, index, 0, &e) == QDBG_OK) {
        printf("fixed, %.6g to %.6g", (double)e.min, (double)e.max);
    }
}

static void put_line(listing *l, const char *name, const char *op, const qdbg_absence_info *absence)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    char grid[64] = "-";
    const bool there = absence->reason == QDBG_ABSENT_NOT &&
                       qdbg_sim_quantizer(l->sim, absence->quantizer, &q) == QDBG_OK;
    if (there)
        describe_grid(&q, grid, sizeof grid);
    put(name, l->name_width);
    putchar(' ');
    put(op, l->op_width);
    printf(" %-10s %-28s ", there ? kind_name(q.kind) : "-", grid);
    if (there) {
        put_note(l, absence->quantizer, &q);
        l->placed[q.kind - QDBG_WEIGHT]++;
    } else {
        put(absence->text, 0);
        l->without++;
    }
    putchar('\n');
}

static void widen(int *width, const char *text)
{
    const size_t n = strlen(text);
    if (n <= WIDEST && (int)n > *width)
        *width = (int)n;
}

/* Parameters of batch-normalization, bounds of Clip, shapes: they would fill half the table. */
static bool is_mere_constant(const qdbg_value_info *info, const qdbg_absence_info *absence)
{
    return absence->reason == QDBG_ABSENT_PARAMETER || absence->reason == QDBG_ABSENT_CONSTANT ||
           (absence->reason == QDBG_ABSENT_TYPE && info->is_parameter);
}

/* A value, or a parameter where it is first read. */
static bool list_value(listing *l, uint32_t value, const char *op)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    qdbg_absence_info absence = QDBG_ABSENCE_INFO_INIT;
    if (value == QDBG_NONE || l->seen[value])
        return true;
    l->seen[value] = 1;
    if (qdbg_graph_value(l->graph, value, &info) != QDBG_OK ||
        qdbg_sim_absence(l->sim, value, &absence) != QDBG_OK)
        return false;
    if (is_mere_constant(&info, &absence)) {
        l->constants += !l->measuring;
    } else if (l->measuring) {
        widen(&l->name_width, info.name);
        widen(&l->op_width, op);
    } else {
        put_line(l, info.name, op, &absence);
    }
    return true;
}

static void put_counted(unsigned n, const char *one, const char *end)
{
    printf("%u %s%s%s", n, one, n == 1 ? "" : one[strlen(one) - 1] == 's' ? "es" : "s", end);
}

static void put_totals(const listing *l)
{
    if (l->constants > 0)
        put_counted(l->constants, "constant", " that no rule speaks of\n");
    put_counted(l->placed[0], "weight", ", ");
    put_counted(l->placed[1], "activation", ", ");
    put_counted(l->placed[2], "bias", "; ");
    put_counted(l->without, "value", " without\n");
}

/* Inputs, then each node's parameters and outputs. */
static bool list_all(listing *l, bool measuring)
{
    bool ok = true;
    l->measuring = measuring;
    memset(l->seen, 0, qdbg_graph_value_count(l->graph));
    for (uint32_t i = 0; i < qdbg_graph_input_count(l->graph) && ok; i++)
        ok = list_value(l, qdbg_graph_input(l->graph, i), "-");
    for (uint32_t i = 0; i < qdbg_graph_node_count(l->graph) && ok; i++) {
        qdbg_node_info node = QDBG_NODE_INFO_INIT;
        ok = qdbg_graph_node(l->graph, i, &node) == QDBG_OK;
        for (uint32_t k = 0; k < node.n_inputs && ok; k++)
            ok = list_value(l, node.inputs[k], node.op_type);
        for (uint32_t k = 0; k < node.n_outputs && ok; k++)
            ok = list_value(l, node.outputs[k], node.op_type);
    }
    return ok;
}

bool listing_print(qdbg_ctx *ctx, qdbg_sim *sim, const qdbg_graph *graph)
{
    listing l = {.ctx = ctx, .sim = sim, .graph = graph, .name_width = 4, .op_width = 2};
    l.seen = malloc(qdbg_graph_value_count(graph));
    if (!l.seen) {
        console_error("out of memory");
        return false;
    }
    errno = 0;
    bool ok = list_all(&l, true);
    if (ok) {
        put("name", l.name_width);
        putchar(' ');
        put("op", l.op_width);
        printf(" %-10s %-28s %s\n", "quantizer", "grid", "shares, or why there is none");
        ok = list_all(&l, false);
        put_totals(&l);
    }
    free(l.seen);
    if (!ok) {
        console_error("%s", qdbg_ctx_error_message(ctx));
        return false;
    }
    if (ferror(stdout) || fflush(stdout) != 0) {
        console_error("standard output: cannot write: %s", strerror(errno));
        return false;
    }
    return true;
}
