#define _DEFAULT_SOURCE /* mmap */
/* Every operator with tensors that are empty along one dimension or another, and with ones too
 * large to be counted: what is accepted runs within its memory, what is refused is refused with
 * words. Sanitizers watch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../lib/graph/ops/ops.h"
#include "conformance/one_node.h"

/* A node in words. Inputs are apart by blanks: a type (f float32, d float64, i int64, b bool) and
 * dimensions, each a letter a-h or a digit; "=" begins a constant list of int64, "%" one of
 * float32, their entries apart by commas and numbers or letters; "_" is left out. Attributes are
 * name=value; a value that begins with a digit or a minus and has a comma is a list. The letters'
 * usual sizes are those of `usual`; each of them in turn is then 0. */
typedef struct sentence {
    const char *op;
    const char *inputs;
    const char *attributes;
    uint32_t opset; /* 0: 13 */
} sentence;

static const int64_t usual[] = {2, 4, 6, 5, 3, 4, 2, 1}; /* a .. h */
#define LETTERS ((int)(sizeof usual / sizeof *usual))

static const sentence sentences[] = {
    {"ArgMax", "fabc", "axis=0", 0},
    {"ArgMax", "fabc", "axis=1 keepdims=0 select_last_index=1", 0},
    {"ArgMin", "fabc", "axis=2", 0},
    {"TopK", "fabc =a", "axis=0", 0},
    {"TopK", "fabc =c", "axis=2 largest=0", 0},
    {"TopK", "fabc =0", "axis=1", 0},
    {"BatchNormalization", "fabcd fb fb fb fb", "", 0},
    {"BatchNormalization", "fab fb fb fb fb", "", 0},
    {"And", "babc babc", "", 0},
    {"Or", "babc bc", "", 0},
    {"Xor", "bab bab", "", 0},
    {"Not", "babc", "", 0},
    {"Cast", "fabc", "to=7", 0},
    {"Cast", "fabc", "to=11", 0},
    {"CastLike", "fabc ide", "", 15},
    {"Clip", "fabcd fb11 fb11", "", 0},
    {"Clip", "fabcd fb11", "", 0},
    {"Clip", "fabcd _ fb11", "", 0},
    {"Clip", "fab fb fb", "", 0},
    {"Clip", "fabc f f", "", 0},
    {"Concat", "fabc fadc", "axis=1", 0},
    {"Concat", "fabc fadc fabc", "axis=-2", 0},
    {"Split", "fabc =1,3", "axis=1", 0},
    {"Split", "fabc =b,0", "axis=1", 0},
    {"Conv", "fabcd febgg", "", 0},
    {"Conv", "fabcd febgg fe", "pads=1,1,1,1", 0},
    {"Conv", "fabcd febgh fe", "strides=2,2 dilations=2,2", 0},
    {"Conv", "fabc febg", "pads=1,1", 0},
    {"Conv", "fabcd fb1gg fb", "group=4 pads=1,1,1,1", 0},
    {"Conv", "fabcd ff2gg", "group=2 auto_pad=SAME_UPPER", 0},
    {"ConvTranspose", "fabcd fbegg", "", 0},
    {"ConvTranspose", "fabcd fbegg fe", "pads=1,1,1,1 strides=2,2", 0},
    {"ConvTranspose", "fabcd fbefh", "output_padding=1,1 strides=2,2", 0},
    {"CumSum", "fabc =0", "", 14},
    {"CumSum", "fabc =1", "exclusive=1 reverse=1", 14},
    {"Einsum", "fabc face", "equation=bij,bjk->bik", 0},
    {"Einsum", "fab fbc", "equation=ij,jk", 0},
    {"Einsum", "fab", "equation=ij->ji", 0},
    {"Einsum", "fab", "equation=ij->", 0},
    {"Einsum", "fabc fabc", "equation=...i,...i->...", 0},
    {"Einsum", "fcc", "equation=ii->i", 0},
    {"ConstantOfShape", "=a,b,c", "", 0},
    {"ConstantOfShape", "=", "", 0},
    {"OneHot", "iab =4 %0,1", "axis=0", 0},
    {"OneHot", "iab =4 %0,1", "axis=-1", 0},
    {"OneHot", "iab =a %0,1", "axis=1", 0},
    {"EyeLike", "fab", "k=1", 0},
    {"EyeLike", "fab", "k=-1", 0},
    {"Trilu", "fabc", "upper=0", 14},
    {"Trilu", "fabc =1", "", 14},
    {"Gather", "fabc ide", "axis=0", 0},
    {"Gather", "fabc ide", "axis=1", 0},
    {"Gather", "fabc i", "axis=2", 0},
    {"GatherElements", "fabc ibbc", "axis=0", 0},
    {"GatherElements", "fabc iabd", "axis=2", 0},
    {"GatherND", "fabc id2", "", 0},
    {"GatherND", "fabc iad1", "batch_dims=1", 0},
    {"Gemm", "fab fbc fc", "", 0},
    {"Gemm", "fab fbc", "", 0},
    {"Gemm", "fba fcb fac", "transA=1 transB=1 alpha=0.5 beta=2.0", 0},
    {"Gemm", "fab fbc f", "", 0},
    {"MatMul", "fab fbc", "", 0},
    {"MatMul", "fa fab", "", 0},
    {"MatMul", "fab fb", "", 0},
    {"MatMul", "fa fa", "", 0},
    {"MatMul", "feabc facd", "", 0},
    {"MatMul", "febc fhecd", "", 0},
    {"Transpose", "fabcd", "perm=3,1,0,2", 0},
    {"Transpose", "fabcd", "perm=0,2,3,1", 0},
    {"Transpose", "fab", "", 0},
    {"DepthToSpace", "fabcd", "blocksize=2", 0},
    {"DepthToSpace", "fabcd", "blocksize=2 mode=CRD", 0},
    {"SpaceToDepth", "fabcc", "blocksize=2", 0},
    {"Pad", "fabc =0,1,0,0,1,2", "mode=constant", 0},
    {"Pad", "fabc =0,1,0,0,1,2", "mode=edge", 0},
    {"Pad", "fabc =0,1,0,0,1,2", "mode=reflect", 0},
    {"Pad", "fabc =0,1,0,0,1,2", "mode=wrap", 19},
    {"Pad", "fabc =0,-1,0,0,-1,-2", "mode=constant", 0},
    {"LayerNormalization", "fabc fc fc", "axis=-1", 17},
    {"LayerNormalization", "fabc fbc fbc", "axis=1", 17},
    {"LayerNormalization", "fabc fabc", "axis=0", 17},
    {"InstanceNormalization", "fabcd fb fb", "", 0},
    {"GroupNormalization", "fabcd fb fb", "num_groups=2", 21},
    {"GroupNormalization", "fabcd f2 f2", "num_groups=2", 18},
    {"LpNormalization", "fabc", "axis=1 p=1", 0},
    {"LpNormalization", "fabc", "axis=-1 p=2", 0},
    {"LRN", "fabcd", "size=3", 0},
    {"MaxPool", "fabcd", "kernel_shape=2,2", 0},
    {"MaxPool", "fabcd", "kernel_shape=3,3 pads=1,1,1,1 strides=2,2 ceil_mode=1", 0},
    {"MaxPool", "fabc", "kernel_shape=2, auto_pad=SAME_LOWER", 0},
    {"AveragePool", "fabcd", "kernel_shape=2,2 pads=1,1,1,1", 0},
    {"AveragePool", "fabcd", "kernel_shape=3,3 count_include_pad=1 pads=1,1,1,1", 0},
    {"GlobalMaxPool", "fabcd", "", 0},
    {"GlobalAveragePool", "fabcd", "", 0},
    {"Resize", "fabcd _ %1,1,2,2", "mode=nearest", 0},
    {"Resize", "fabcd _ %1,1,0.5,0.5", "mode=linear", 0},
    {"Resize", "fabcd _ %1,1,2,2", "mode=cubic", 0},
    {"Resize", "fabcd _ _ =a,b,c,8", "mode=linear", 0},
    {"Resize", "fabcd _ _ =2,4,8,d", "mode=nearest", 0},
    {"Resize", "fabcd %0,0,0,0,1,1,1,1 _ =a,b,3,3",
     "mode=linear coordinate_transformation_mode=tf_crop_and_resize", 0},
    {"Upsample", "fabcd %1,1,2,2", "mode=nearest", 9},
    {"ScatterElements", "fabc iabd fabd", "axis=2", 0},
    {"ScatterElements", "fabc iebc febc", "axis=0 reduction=add", 18},
    {"Scatter", "fabc iabd fabd", "axis=2", 9},
    {"ScatterND", "fabc id2 fdc", "", 0},
    {"ScatterND", "fabc id3 fd", "reduction=max", 18},
    {"Slice", "fabc =1,1 =9,9 =0,1", "", 0},
    {"Slice", "fabc =-1,-1 =-99,-99 =0,2 =-1,-2", "", 0},
    {"Slice", "fabc =0 =0 =1", "", 0},
    {"Slice", "fabc =a =b =1", "", 0},
    {"Reshape", "fabc =-1,c", "", 0},
    {"Reshape", "fabc =0,0,-1", "", 0},
    {"Reshape", "fabc =c,b,a", "allowzero=1", 14},
    {"Reshape", "fabc =a,-1", "allowzero=1", 14},
    {"Flatten", "fabc", "axis=0", 0},
    {"Flatten", "fabc", "axis=2", 0},
    {"Flatten", "fabc", "axis=3", 0},
    {"Squeeze", "fahc =1", "", 0},
    {"Squeeze", "fahc", "", 0},
    {"Unsqueeze", "fabc =0,4", "", 0},
    {"Unsqueeze", "fabc =", "", 0},
    {"Dropout", "fabc", "", 0},
    {"Shape", "fabc", "", 0},
    {"Shape", "fabc", "start=1 end=1", 15},
    {"Size", "fabc", "", 0},
    {"Softmax", "fabc", "axis=1", 0},
    {"Softmax", "fabc", "axis=1", 11},
    {"LogSoftmax", "fabc", "axis=0", 0},
    {"LogSoftmax", "fabc", "axis=0", 11},
    {"Hardmax", "fabc", "axis=2", 0},
    {"Hardmax", "fabc", "axis=2", 11},
    {"Expand", "fabc =a,b,c", "", 0},
    {"Expand", "fah =e,1,b", "", 0},
    {"Expand", "f =a,b", "", 0},
    {"Tile", "fabc =1,2,3", "", 0},
    {"Tile", "fabc =a,g,h", "", 0},
    {"Where", "babc fabc fabc", "", 0},
    {"Where", "bc fabc f", "", 0},
    {"Mod", "fabc fc", "fmod=1", 0},
    {"Mod", "fbc fabc", "fmod=1", 0},
    {"PRelu", "fabc fc", "", 0},
    {"PRelu", "fabcd fb11", "", 0},
    {"Pow", "fabc fc", "", 0},
    {"Pow", "fabc f", "", 0},
    {"Sum", "fabc fbc fc", "", 0},
    {"Mean", "fabc fbc f", "", 0},
    {"Max", "fabc fabc fc", "", 0},
    {"Min", "fabc f", "", 0},
};

#define GENERAL 4

/* For operators without a sentence of their own, and the reductions and unary ones. */
static bool general_sentence(const qdbg__op *op, uint32_t i, sentence *out)
{
    static const char *const inputs[][GENERAL] = {{"f", "fabc", "fahcd", "fa"},
                                                  {"fabc fabc", "fabc fc", "fa1c fb1", "fabc f"}};
    static const char *const attributes[GENERAL] = {"", "", "", ""};
    static const char *const reductions[GENERAL] = {"", "axes=0,1", "axes=2, keepdims=0",
                                                    "axes=0,1,2"};
    bool reduces = strncmp(op->type, "Reduce", 6) == 0;
    for (size_t k = 0; k < sizeof sentences / sizeof *sentences; k++)
        if (strcmp(sentences[k].op, op->type) == 0)
            return false;
    if (op->min_in < 1 || op->min_in > 2)
        return false;
    *out = (sentence){op->type, reduces ? "fabc" : inputs[op->min_in - 1][i],
                      reduces ? reductions[i] : attributes[i], reduces ? 12 : 0};
    return true;
}

/* ---- from words to a node ---- */

typedef struct trial {
    const sentence *s;
    const int64_t *sizes; /* [LETTERS] */
    bool constant;        /* all inputs are parameters */
    bool without_data;    /* only what the graph says is of interest */
    one_node o;
} trial;

static int64_t number_of(const trial *t, const char *word)
{
    return word[0] >= 'a' && word[0] < 'a' + LETTERS ? t->sizes[word[0] - 'a'] : atoll(word);
}

static void add_list(trial *t, const char *word)
{
    int64_t whole[8];
    float real[8];
    int64_t n = 0;
    char entries[64], *rest;
    snprintf(entries, sizeof entries, "%s", word + 1);
    for (char *e = strtok_r(entries, ",", &rest); e; e = strtok_r(NULL, ",", &rest)) {
        whole[n] = number_of(t, e);
        real[n++] = (float)atof(e);
    }
    if (word[0] == '=')
        one_param(&t->o, QDBG_I64, DIMS(n), whole);
    else
        one_param(&t->o, QDBG_F32, DIMS(n), real);
}

static void declare(one_node *o, int32_t dtype, uint32_t rank, const int64_t *dims)
{
    char name[16];
    snprintf(name, sizeof name, "in%u", o->n_in);
    assert_int_equal(qdbg_graph_add_value(o->graph, name, dtype, rank, dims, &o->in[o->n_in]), 0);
    assert_int_equal(qdbg_graph_add_input(o->graph, o->in[o->n_in++]), 0);
}

static void add_tensor(trial *t, const char *word)
{
    int64_t dims[QDBG_MAX_RANK + 1], n = 1;
    int32_t dtype = word[0] == 'f'   ? QDBG_F32
                    : word[0] == 'd' ? QDBG_F64
                    : word[0] == 'i' ? QDBG_I64
                                     : QDBG_BOOL;
    uint32_t rank = 0;
    for (const char *c = word + 1; *c; c++) {
        dims[rank] = *c >= 'a' ? t->sizes[*c - 'a'] : *c - '0';
        n *= t->without_data ? 1 : dims[rank];
        rank++;
    }
    dims[rank] = -1;
    if (t->without_data) {
        declare(&t->o, dtype, rank, dims);
        return;
    }
    float *ones = calloc((size_t)n + 1, sizeof *ones);
    for (int64_t i = 0; i < n; i++)
        ones[i] = (float)(i % 5) / 2;
    const void *data = dtype == QDBG_F32 ? ones : NULL; /* others are zero */
    if (t->constant)
        one_param(&t->o, dtype, dims, data);
    else
        one_input(&t->o, dtype, dims, data);
    free(ones);
}

static void add_attribute(trial *t, char *word)
{
    char *value = strchr(word, '='), *rest;
    int64_t list[8];
    uint32_t n = 0;
    *value++ = 0;
    if (value[0] != '-' && (value[0] < '0' || value[0] > '9')) {
        one_set_string(&t->o, word, value);
    } else if (strchr(value, '.')) {
        one_set_float(&t->o, word, (float)atof(value));
    } else if (strchr(value, ',')) {
        for (char *e = strtok_r(value, ",", &rest); e; e = strtok_r(NULL, ",", &rest))
            list[n++] = atoll(e);
        one_set_ints(&t->o, word, list, n);
    } else {
        one_set_int(&t->o, word, atoll(value));
    }
}

static void build(trial *t)
{
    char text[256], *rest;
    one_begin(&t->o, t->s->opset ? t->s->opset : 13);
    snprintf(text, sizeof text, "%s", t->s->inputs);
    for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) {
        if (w[0] == '_')
            one_absent(&t->o);
        else if (w[0] == '=' || w[0] == '%')
            add_list(t, w);
        else
            add_tensor(t, w);
    }
    one_op(&t->o, t->s->op,
           strcmp(t->s->op, "Split") == 0 || strcmp(t->s->op, "TopK") == 0 ? 2 : 1);
    snprintf(text, sizeof text, "%s", t->s->attributes);
    for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        add_attribute(t, w);
}

/* True when the operator ran; else it has said why not. */
static bool attempt(const sentence *s, const int64_t *sizes, bool constant)
{
    trial t = {.s = s, .sizes = sizes, .constant = constant};
    qdbg_view out[ONE_MAX];
    build(&t);
    qdbg_status status = one_run(&t.o, out);
    for (uint32_t i = 0; status == QDBG_OK && i < t.o.n_out; i++)
        free(out[i].data);
    if (status != QDBG_OK && !*qdbg_ctx_error_message(t.o.ctx))
        fail_msg("%s (%s): refused without a word", s->op, s->inputs);
    if (status != QDBG_OK && getenv("QDBG_PRINT"))
        print_message("  %s [%s] %s: %s\n", s->op, s->inputs, s->attributes,
                      qdbg_ctx_error_message(t.o.ctx));
    one_end(&t.o);
    return status == QDBG_OK;
}

/* Every letter in turn, and two at a time; as inputs and as constants. How many ran. */
static int empty_each(const sentence *s)
{
    int ran = 0;
    for (int i = 0; i < LETTERS; i++)
        for (int k = i; k < LETTERS; k++)
            for (int constant = 0; constant < 2; constant++) {
                int64_t sizes[LETTERS];
                if (!strchr(s->inputs, 'a' + i) || !strchr(s->inputs, 'a' + k))
                    continue;
                memcpy(sizes, usual, sizeof sizes);
                sizes[i] = sizes[k] = 0;
                ran += attempt(s, sizes, constant);
            }
    return ran;
}

/* Every two letters very large, with what finishing the graph makes of it. */
static void enlarge_each(const sentence *s)
{
    static const int64_t large[] = {1 << 20, (int64_t)1 << 31, (int64_t)1 << 40, (int64_t)1 << 62,
                                    INT64_MAX};
    for (int i = 0; i < LETTERS * LETTERS * 25; i++) {
        int64_t sizes[LETTERS];
        int a = i / 25 / LETTERS, b = i / 25 % LETTERS;
        trial t = {.s = s, .sizes = sizes, .without_data = true};
        if (!strchr(s->inputs, 'a' + a) || !strchr(s->inputs, 'a' + b))
            continue;
        memcpy(sizes, usual, sizeof sizes);
        sizes[a] = large[i / 5 % 5];
        sizes[b] = large[i % 5];
        build(&t);
        if (qdbg_graph_finish(t.o.graph) != QDBG_OK && !*qdbg_ctx_error_message(t.o.ctx))
            fail_msg("%s (%s): refused without a word", s->op, s->inputs);
        one_end(&t.o);
    }
}

static void check_empty(const sentence *s)
{
    for (int constant = 0; constant < 2; constant++)
        if (!attempt(s, usual, constant)) /* or the empty ones would prove nothing */
            fail_msg("%s (%s, %s) does not run with its usual sizes", s->op, s->inputs,
                     s->attributes);
    print_message("%-24s %-28s ran empty %d times\n", s->op, s->inputs, empty_each(s));
}

static void each_sentence(void (*check)(const sentence *))
{
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        check(&sentences[i]);
    for (size_t t = 0; t < qdbg__n_op_tables; t++)
        for (size_t i = 0; i < qdbg__op_tables[t]->n; i++)
            for (uint32_t k = 0; k < GENERAL; k++) {
                sentence s;
                if (general_sentence(&qdbg__op_tables[t]->ops[i], k, &s))
                    check(&s);
            }
}

static void empty_tensors_do_no_harm(void **state)
{
    (void)state;
    each_sentence(check_empty);
}

static void large_tensors_do_no_harm(void **state)
{
    (void)state;
    each_sentence(enlarge_each);
}

/* No operator is left out above but those that read no tensor: Constant, and Range, which reads
 * single numbers. */
static void every_operator_is_tried(void **state)
{
    (void)state;
    for (size_t t = 0; t < qdbg__n_op_tables; t++)
        for (size_t i = 0; i < qdbg__op_tables[t]->n; i++) {
            const qdbg__op *op = &qdbg__op_tables[t]->ops[i];
            sentence s;
            size_t k = 0;
            while (k < sizeof sentences / sizeof *sentences &&
                   strcmp(sentences[k].op, op->type) != 0)
                k++;
            if (k == sizeof sentences / sizeof *sentences && !general_sentence(op, 0, &s))
                assert_true(op == qdbg__op_find("Constant") || op == qdbg__op_find("Range"));
        }
}

/* Clip of [2, 0, 3] with a bound for each of no channels: neither its memory nor the input's may be
 * read, for they need not be there. A page that nobody may touch tells without a sanitizer. */
static void clip_of_no_channels_reads_no_bound(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *trap = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)state;
    assert_true(trap != MAP_FAILED);
    for (uint32_t bounds = 1; bounds <= 3; bounds++) { /* min, max, both */
        qdbg__facts facts;
        one_node o;
        one_begin(&o, 13);
        one_input(&o, QDBG_F32, DIMS(2, 0, 3), NULL);
        for (uint32_t i = 1; i <= 2; i++) {
            if (bounds & i)
                one_input(&o, QDBG_F32, DIMS(0, 1), NULL);
            else
                one_absent(&o);
        }
        one_op(&o, "Clip", 1);
        assert_int_equal(qdbg_graph_finish(o.graph), QDBG_OK);
        assert_int_equal(qdbg__facts_infer(o.graph, o.feeds, true, &facts), QDBG_OK);
        const qdbg_view *in[3] = {NULL};
        qdbg_view views[3], y = facts.values[o.out[0]].view;
        const qdbg_view *const out[1] = {&y};
        for (uint32_t i = 0; i < 3; i++) {
            if (o.in[i] == QDBG_NONE)
                continue;
            views[i] = facts.values[o.in[i]].view;
            views[i].data = trap;
            in[i] = &views[i];
        }
        y.data = trap;
        const qdbg__node *node = &o.graph->nodes[0];
        const qdbg__run run = {node, in, out, facts.nodes[0].params, NULL, qdbg__kernels_of(o.ctx)};
        assert_int_equal(node->op->run(&run), QDBG_OK);
        qdbg__facts_free(&facts);
        one_end(&o);
    }
    munmap(trap, page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_tensors_do_no_harm),
        cmocka_unit_test(large_tensors_do_no_harm),
        cmocka_unit_test(every_operator_is_tried),
        cmocka_unit_test(clip_of_no_channels_reads_no_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
