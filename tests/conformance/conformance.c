/* ONNX's own backend tests, for every operator that the library claims.
 *
 *     conformance [--data DIR] [--skips FILE] [--filter TEXT] [--verbose]
 *
 * A test that cannot run is a skip only when a rule of the skips file expects it, with that reason;
 * any other is a failure, and so is a rule that no longer skips anything: nothing starts or stops
 * being tested in silence. Many of the tests feed shapes, axes and scales as inputs where real
 * models have constants; such a test runs with its inputs turned into parameters. Exit status: 0
 * all passed, 1 something failed, 77 the data are not there. */
#define _POSIX_C_SOURCE 200809L /* scandir */

#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <qdebug/onnx.h>

#include "../../lib/onnx/tensor.h"
#include "interp.h"

#define MAX_TENSORS 64
#define PATH 1024

typedef enum { PASSED, FAILED, SKIPPED } outcome;

/* A line "pattern ; text ; reason" of the skips file: tests of that name may be skipped when the
 * message has that text. With a '!' in front they may also fail: the data are known to be wrong. */
typedef struct rule {
    char pattern[128], text[128], reason[256];
    bool may_fail;
    size_t hits;
} rule;

typedef struct op_count {
    char type[64];
    size_t passed, failed, skipped;
} op_count;

typedef struct suite {
    const char *data, *filter;
    bool verbose;
    rule *rules;
    size_t n_rules;
    op_count ops[512];
    size_t n_ops;
    size_t passed, failed, skipped, as_constants, raised;
} suite;

/* One test directory at work. */
typedef struct test {
    suite *suite;
    char dir[PATH];
    const char *label; /* "node/test_abs" */
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    qdbg_view in[MAX_TENSORS], want[MAX_TENSORS];
    size_t n_in, n_want;
    bool constants; /* ran with inputs as constants */
    bool raised;    /* its opset was too old, and was raised */
    char message[1024];
} test;

/* ---- files ---- */

static void *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    void *data = malloc((size_t)n + 1);
    *size = data ? fread(data, 1, (size_t)n, f) : 0;
    fclose(f);
    return data;
}

static bool exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0;
}

/* ---- opsets before the library's first ---- */

/* A varint or a length; false at the end. */
static bool read_varint(const uint8_t *data, size_t size, size_t *at, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; *at < size && shift < 64; shift += 7) {
        uint8_t byte = data[(*at)++];
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

/* Find the payload of the next field of a message; its number and kind are in *key. */
static bool next_field(const uint8_t *data, size_t size, size_t *at, uint64_t *key, size_t *payload)
{
    uint64_t n;
    if (!read_varint(data, size, at, key))
        return false;
    *payload = *at;
    switch (*key & 7) {
    case 0:
        return read_varint(data, size, at, &n);
    case 2:
        if (!read_varint(data, size, at, &n) || n > size - *at)
            return false;
        *payload = *at;
        *at += (size_t)n;
        return true;
    default:
        n = (*key & 7) == 5 ? 4 : 8;
        *at += (size_t)n;
        return *at <= size;
    }
}

/* Much of the data is of opset 1 or 6. Nearly all of its operators still mean the same in 7: raise
 * the number in the file (model field 8, opset_import; there field 2, version: one byte). */
static bool raise_opset(uint8_t *model, size_t size)
{
    size_t at = 0, payload;
    uint64_t key;
    while (next_field(model, size, &at, &key, &payload)) {
        size_t inner = payload, value;
        uint64_t inner_key;
        while (key == (8 << 3 | 2) && next_field(model, at, &inner, &inner_key, &value)) {
            if (inner_key == (2 << 3 | 0) && model[value] < QDBG_OPSET_MIN) {
                model[value] = QDBG_OPSET_MIN;
                return true;
            }
        }
    }
    return false;
}

/* ---- reading a test ---- */

static outcome load(test *t)
{
    char path[PATH + 64];
    size_t size;
    snprintf(path, sizeof path, "%s/model.onnx", t->dir);
    uint8_t *model = read_file(path, &size);
    if (!model) {
        snprintf(t->message, sizeof t->message, "no model.onnx here");
        return SKIPPED;
    }
    t->raised = raise_opset(model, size);
    qdbg_graph_destroy(t->graph);
    t->graph = NULL;
    qdbg_status status = qdbg_onnx_load_memory(t->ctx, model, size, t->dir, &t->graph);
    free(model);
    if (status == QDBG_OK)
        return PASSED;
    snprintf(t->message, sizeof t->message, "%s", qdbg_ctx_error_message(t->ctx));
    return status == QDBG_E_UNSUPPORTED ? SKIPPED : FAILED;
}

/* The tensors PREFIX_0.pb, PREFIX_1.pb, ... of a data set. */
static outcome read_tensors(test *t, const char *set, const char *prefix, qdbg_view *views,
                            size_t *n)
{
    char path[PATH + 64];
    for (*n = 0; *n < MAX_TENSORS; ++*n) {
        size_t size;
        snprintf(path, sizeof path, "%s/%s/%s_%zu.pb", t->dir, set, prefix, *n);
        void *data = read_file(path, &size);
        if (!data)
            break;
        qdbg_status status = qdbg__onnx_read_tensor(t->ctx, data, size, &views[*n]);
        free(data);
        if (status != QDBG_OK) {
            snprintf(t->message, sizeof t->message, "%s_%zu.pb: %s", prefix, *n,
                     qdbg_ctx_error_message(t->ctx));
            return status == QDBG_E_UNSUPPORTED ? SKIPPED : FAILED;
        }
    }
    return PASSED;
}

static size_t view_bytes(const qdbg_view *v)
{
    return (size_t)qdbg_view_count(v) * qdbg_dtype_size(v->dtype);
}

static void free_tensors(test *t, qdbg_view *views, size_t n)
{
    for (size_t i = 0; i < n; i++)
        qdbg_ctx_free(t->ctx, views[i].data, view_bytes(&views[i]));
}

/* ---- comparison ---- */

static double element(const qdbg_view *v, uint64_t i)
{
    switch (v->dtype) {
    case QDBG_F32:
        return ((const float *)v->data)[i];
    case QDBG_F64:
        return ((const double *)v->data)[i];
    default: /* float16, bfloat16: compared as bits, widened enough to tell neighbours apart */
        return ((const uint16_t *)v->data)[i];
    }
}

/* Whether every node of the graph only moves elements: then results must be equal to the bit. */
static bool moves_only(const qdbg_graph *g)
{
    for (size_t n = 0; n < g->n_nodes; n++) {
        if (!(g->nodes[n].op->flags & QDBG__OP_PASSES_ENCODING))
            return false;
    }
    return true;
}

static bool same(test *t, size_t output, const qdbg_view *got, const qdbg_view *want)
{
    char a[128], b[128];
    bool floats = want->dtype == QDBG_F32 || want->dtype == QDBG_F64;
    uint64_t n = qdbg_view_count(want);
    if (got->dtype != want->dtype ||
        !qdbg__shape_equal(got->rank, got->dims, want->rank, want->dims)) {
        snprintf(t->message, sizeof t->message, "output %zu is %s%s, not %s%s", output,
                 qdbg_dtype_name(got->dtype), qdbg__shape_text(got->rank, got->dims, a, sizeof a),
                 qdbg_dtype_name(want->dtype),
                 qdbg__shape_text(want->rank, want->dims, b, sizeof b));
        return false;
    }
    if (n == 0 || memcmp(got->data, want->data, view_bytes(want)) == 0)
        return true;
    /* Function bodies ("_expanded") have rounded constants such as 3.14159. */
    double atol = 1e-5, rtol = strstr(t->label, "_expanded") ? 1e-3 : 1e-4;
    if (moves_only(t->graph) || (!floats && want->dtype != QDBG_F16 && want->dtype != QDBG_BF16))
        atol = rtol = 0.0;
    if (!floats && atol > 0.0)
        atol = 1.0, rtol = 0.0; /* one step of a 16-bit float */
    for (uint64_t i = 0; i < n; i++) {
        if (atol == 0.0 && !floats) {
            snprintf(t->message, sizeof t->message, "output %zu: integers differ", output);
            return false;
        }
        double g = element(got, i), w = element(want, i);
        bool near = isnan(w) ? isnan(g) : g == w || fabs(g - w) <= atol + rtol * fabs(w);
        if (!near) {
            snprintf(t->message, sizeof t->message, "output %zu[%llu] is %.9g, not %.9g", output,
                     (unsigned long long)i, g, w);
            return false;
        }
    }
    return true;
}

/* ---- one test ---- */

/* Turn graph inputs from number `first` on into parameters with the elements of the data set. */
static void make_constants(test *t, size_t first)
{
    qdbg_graph *g = t->graph;
    for (size_t i = first; i < g->n_inputs && i < t->n_in; i++) {
        qdbg__value *v = &g->values[g->inputs[i]];
        const qdbg_view *view = &t->in[i];
        v->bytes = view_bytes(view);
        v->data = qdbg_ctx_alloc(t->ctx, v->bytes);
        if (!v->data)
            abort();
        if (v->bytes > 0)
            memcpy(v->data, view->data, v->bytes);
        v->dtype = view->dtype;
        v->rank = view->rank;
        memcpy(v->dims, view->dims, sizeof v->dims);
        v->is_param = true;
        v->is_input = false;
    }
    if (first < g->n_inputs)
        g->n_inputs = first;
}

/* The data files hold bfloat16 as uint16. */
static void name_bfloat(qdbg_view *view, int32_t declared)
{
    if (declared == QDBG_BF16 && view->dtype == QDBG_U16)
        view->dtype = QDBG_BF16;
}

static outcome run_set(test *t)
{
    qdbg_view got[MAX_TENSORS];
    if (t->n_in < t->graph->n_inputs || t->graph->n_outputs > MAX_TENSORS ||
        t->n_want != t->graph->n_outputs) {
        snprintf(t->message, sizeof t->message, "%zu inputs and %zu outputs for %zu and %zu",
                 t->n_in, t->n_want, t->graph->n_inputs, t->graph->n_outputs);
        return FAILED;
    }
    for (size_t i = 0; i < t->graph->n_inputs; i++)
        name_bfloat(&t->in[i], t->graph->values[t->graph->inputs[i]].dtype);
    for (size_t i = 0; i < t->graph->n_outputs; i++)
        name_bfloat(&t->want[i], t->graph->values[t->graph->outputs[i]].dtype);
    qdbg_status status = interp_run(t->graph, t->in, got);
    /* Then everything but the data, then everything. */
    for (size_t first = 1; status == QDBG_E_UNSUPPORTED && first < 2; first--) {
        if (!strstr(qdbg_ctx_error_message(t->ctx), "not constant"))
            break;
        make_constants(t, first);
        t->constants = true;
        status = interp_run(t->graph, t->in, got);
    }
    if (status != QDBG_OK) {
        snprintf(t->message, sizeof t->message, "%s", qdbg_ctx_error_message(t->ctx));
        return status == QDBG_E_UNSUPPORTED ? SKIPPED : FAILED;
    }
    outcome result = PASSED;
    for (size_t i = 0; i < t->graph->n_outputs; i++) {
        if (result == PASSED && !same(t, i, &got[i], &t->want[i]))
            result = FAILED;
        free(got[i].data);
    }
    return result;
}

static outcome run_sets(test *t)
{
    outcome result = load(t);
    for (int set = 0; result == PASSED; set++) {
        char name[64], path[PATH + 64];
        snprintf(name, sizeof name, "test_data_set_%d", set);
        snprintf(path, sizeof path, "%s/%s", t->dir, name);
        if (!exists(path))
            break;
        if (set > 0) /* the graph may have been changed */
            result = load(t);
        if (result == PASSED)
            result = read_tensors(t, name, "input", t->in, &t->n_in);
        if (result == PASSED)
            result = read_tensors(t, name, "output", t->want, &t->n_want);
        if (result == PASSED)
            result = run_set(t);
        free_tensors(t, t->in, t->n_in);
        free_tensors(t, t->want, t->n_want);
        t->n_in = t->n_want = 0;
    }
    return result;
}

/* ---- bookkeeping ---- */

static void count_op(suite *s, const char *type, outcome result)
{
    size_t i = 0;
    while (i < s->n_ops && strcmp(s->ops[i].type, type) != 0)
        i++;
    if (i == s->n_ops) {
        if (i == sizeof s->ops / sizeof *s->ops)
            return;
        snprintf(s->ops[s->n_ops++].type, sizeof s->ops->type, "%s", type);
    }
    s->ops[i].passed += result == PASSED;
    s->ops[i].failed += result == FAILED;
    s->ops[i].skipped += result == SKIPPED;
}

static void count_ops(suite *s, const qdbg_graph *g, outcome result)
{
    for (size_t n = 0; g && n < g->n_nodes; n++) {
        size_t before = 0;
        while (strcmp(g->nodes[before].op_type, g->nodes[n].op_type) != 0)
            before++;
        if (before == n) /* each type once a test */
            count_op(s, g->nodes[n].op_type, result);
    }
}

static rule *find_rule(suite *s, const test *t, outcome result)
{
    for (size_t i = 0; i < s->n_rules; i++) {
        rule *r = &s->rules[i];
        if (fnmatch(r->pattern, t->label, 0) == 0 && strstr(t->message, r->text) &&
            (result == SKIPPED || r->may_fail))
            return r;
    }
    return NULL;
}

/* What the rules make of a test that did not pass. */
static outcome judge(suite *s, const test *t, outcome result)
{
    rule *r = find_rule(s, t, result);
    if (r) {
        r->hits++;
        if (s->verbose)
            printf("skip  %s: %s (%s)\n", t->label, r->reason, t->message);
        return SKIPPED;
    }
    printf("FAIL  %s: %s%s\n", t->label, t->message,
           result == SKIPPED ? " (a skip that no rule expects)" : "");
    return FAILED;
}

static void run_test(suite *s, const char *group, const char *name)
{
    char label[PATH];
    test t = {.suite = s, .label = label};
    snprintf(label, sizeof label, "%s/%s", group, name);
    if (s->filter && !strstr(label, s->filter))
        return;
    snprintf(t.dir, sizeof t.dir, "%.500s/%.500s", s->data, label);
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = 1;
    if (qdbg_ctx_create(&options, &t.ctx) != QDBG_OK)
        abort();
    outcome result = run_sets(&t);
    if (result != PASSED)
        result = judge(s, &t, result);
    else if (s->verbose)
        printf("pass  %s%s%s\n", label, t.constants ? " (inputs as constants)" : "",
               t.raised ? " (opset raised)" : "");
    count_ops(s, t.graph, result);
    s->passed += result == PASSED;
    s->failed += result == FAILED;
    s->skipped += result == SKIPPED;
    s->as_constants += result == PASSED && t.constants;
    s->raised += result == PASSED && t.raised;
    qdbg_graph_destroy(t.graph);
    qdbg_ctx_destroy(t.ctx);
}

static void run_group(suite *s, const char *group)
{
    char path[PATH];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/%s", s->data, group);
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.')
            run_test(s, group, entries[i]->d_name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static bool read_rules(suite *s, const char *path)
{
    char line[512];
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    while (fgets(line, sizeof line, f)) {
        rule r = {.may_fail = line[0] == '!'};
        if (line[0] == '#' || sscanf(line + r.may_fail, "%127[^ ;] ; %127[^;] ; %255[^\n]",
                                     r.pattern, r.text, r.reason) != 3)
            continue;
        while (r.text[0] && r.text[strlen(r.text) - 1] == ' ')
            r.text[strlen(r.text) - 1] = 0;
        rule *grown = realloc(s->rules, (s->n_rules + 1) * sizeof *grown);
        if (!grown)
            abort();
        s->rules = grown;
        s->rules[s->n_rules++] = r;
    }
    fclose(f);
    return true;
}

static int compare_ops(const void *a, const void *b)
{
    return strcmp(((const op_count *)a)->type, ((const op_count *)b)->type);
}

static void print_report(suite *s)
{
    qsort(s->ops, s->n_ops, sizeof *s->ops, compare_ops);
    printf("\n%-28s passed failed skipped\n", "operator");
    for (size_t i = 0; i < s->n_ops; i++) {
        const op_count *o = &s->ops[i];
        if (qdbg__op_find(o->type))
            printf("%-28s %6zu %6zu %7zu\n", o->type, o->passed, o->failed, o->skipped);
    }
    printf("\nskipped, by reason:\n");
    for (size_t i = 0; i < s->n_rules; i++) {
        rule *r = &s->rules[i];
        printf("%4zu  %s: %s\n", r->hits, r->text, r->reason);
        if (r->hits == 0 && !s->filter) {
            printf("FAIL  the rule '%s ; %s' skips nothing\n", r->pattern, r->text);
            s->failed++;
        }
    }
    printf("\nof the passed, %zu ran with inputs as constants and %zu with their opset raised\n",
           s->as_constants, s->raised);
    printf("%zu passed, %zu failed, %zu skipped\n", s->passed, s->failed, s->skipped);
}

int main(int argc, char **argv)
{
    static suite s = {.data = "/usr/share/libonnx-testdata/data"};
    const char *skips = "skips.txt";
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--verbose") == 0)
            s.verbose = true;
        else if (strcmp(argv[i], "--data") == 0 && more)
            s.data = argv[++i];
        else if (strcmp(argv[i], "--skips") == 0 && more)
            skips = argv[++i];
        else if (strcmp(argv[i], "--filter") == 0 && more)
            s.filter = argv[++i];
        else {
            fprintf(stderr, "unknown argument '%s'\n", argv[i]);
            return 2;
        }
    }
    if (!exists(s.data)) {
        printf("%s is not there: install the Debian package libonnx-testdata\n", s.data);
        return 77;
    }
    if (!read_rules(&s, skips)) {
        fprintf(stderr, "cannot read '%s'\n", skips);
        return 2;
    }
    static const char *const groups[] = {"node", "simple", "pytorch-operator", "pytorch-converted",
                                         "real"};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        run_group(&s, groups[i]);
    print_report(&s);
    free(s.rules);
    return s.failed ? 1 : 0;
}
