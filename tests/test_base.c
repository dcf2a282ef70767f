/* Contexts: options, memory, error details and log (base.h); progress and cancel are in
 * test_base_cancel.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

/* ---- names and numbers ---- */

static void version_is_that_of_the_header(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", QDBG_VERSION_MAJOR, QDBG_VERSION_MINOR,
             QDBG_VERSION_PATCH);
    assert_string_equal(qdbg_version_string(), text);
    assert_int_equal(qdbg_version(),
                     QDBG_VERSION_MAJOR * 1000000 + QDBG_VERSION_MINOR * 1000 + QDBG_VERSION_PATCH);
}

static void every_status_has_its_name(void **state)
{
    static const struct {
        qdbg_status status;
        const char *name;
    } rows[] = {
        {QDBG_OK, "OK"},
        {QDBG_E_INVALID, "INVALID"},
        {QDBG_E_NOMEM, "NOMEM"},
        {QDBG_E_LIMIT, "LIMIT"},
        {QDBG_E_CALLBACK, "CALLBACK"},
        {QDBG_E_CANCELLED, "CANCELLED"},
        {QDBG_E_UNSUPPORTED, "UNSUPPORTED"},
        {QDBG_E_SHAPE, "SHAPE"},
        {QDBG_E_TYPE, "TYPE"},
        {QDBG_E_FORMAT, "FORMAT"},
        {QDBG_E_IO, "IO"},
        {QDBG_E_NOT_FOUND, "NOT_FOUND"},
        {QDBG_E_STATE, "STATE"},
        {QDBG_E_HOST, "HOST"},
        {QDBG_E_NUMERIC, "NUMERIC"},
        {QDBG_E_THREAD, "THREAD"},
        {1, "UNKNOWN"},
        {QDBG_E_THREAD - 1, "UNKNOWN"},
        {INT32_MAX, "UNKNOWN"},
        {INT32_MIN, "UNKNOWN"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(qdbg_status_name(rows[i].status), rows[i].name);
}

/* ---- options ---- */

static void init_functions_do_what_the_macros_do(void **state)
{
    (void)state;
    qdbg_ctx_options options, want = QDBG_CTX_OPTIONS_INIT;
    qdbg_error_info info;
    memset(&options, 0xff, sizeof options);
    memset(&info, 0xff, sizeof info);
    qdbg_ctx_options_init(&options);
    assert_memory_equal(&options, &want, sizeof options);
    assert_int_equal(options.struct_size, sizeof options);
    qdbg_error_info_init(&info);
    assert_int_equal(info.struct_size, sizeof info);
    assert_null(info.message);
    qdbg_ctx_options_init(NULL);
    qdbg_error_info_init(NULL);
}

/* `out` keeps what it held. */
static void refused(const qdbg_ctx_options *options)
{
    qdbg_ctx *ctx = (qdbg_ctx *)&ctx;
    assert_int_equal(qdbg_ctx_create(options, &ctx), QDBG_E_INVALID);
    assert_ptr_equal(ctx, &ctx);
}

static void bad_options_are_refused(void **state)
{
    heap h;
    const qdbg_ctx_options good = QDBG_CTX_OPTIONS_INIT;
    (void)state;
    heap_init(&h);
    assert_int_equal(qdbg_ctx_create(&good, NULL), QDBG_E_INVALID);
    qdbg_ctx_options o = good;
    o.struct_size--;
    refused(&o);
    o = good;
    o.flags = 2;
    refused(&o);
    for (int32_t level = -1; level <= 5; level += 6) {
        o = good;
        o.cpu_level = level;
        refused(&o);
    }
    o = good;
    o.log_level = QDBG_LOG_DEBUG + 1;
    refused(&o);
    for (int i = 0; i < 3; i++) {
        qdbg_allocator a = heap_allocator(&h);
        if (i == 0)
            a.alloc = NULL;
        if (i == 1)
            a.free = NULL;
        if (i == 2)
            a.struct_size = 0;
        o = good;
        o.allocator = &a;
        refused(&o);
    }
    assert_int_equal(h.n_calls, 0);
}

static void options_reach_the_context(void **state)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    (void)state;
    assert_ok(qdbg_ctx_create(NULL, &ctx));
    assert_true(qdbg_ctx_threads(ctx) >= 1);
    int32_t best = qdbg_ctx_cpu_level(ctx);
    assert_in_range(best, QDBG_CPU_REFERENCE, QDBG_CPU_NEON);
    qdbg_ctx_destroy(ctx);
    o.threads = 3;
    o.cpu_level = QDBG_CPU_REFERENCE;
    o.flags = QDBG_CTX_KEEP_BLAS_THREADS;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    assert_int_equal(qdbg_ctx_threads(ctx), 3);
    assert_int_equal(qdbg_ctx_cpu_level(ctx), QDBG_CPU_REFERENCE);
    qdbg_ctx_destroy(ctx);
    o.cpu_level = best;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    assert_int_equal(qdbg_ctx_cpu_level(ctx), best);
    qdbg_ctx_destroy(ctx);
    assert_int_equal(qdbg_ctx_threads(NULL), 0);
    assert_int_equal(qdbg_ctx_cpu_level(NULL), 0);
    qdbg_ctx_destroy(NULL);
}

/* ---- memory ---- */

static uint64_t memory_of(const qdbg_ctx *ctx, uint64_t *peak)
{
    uint64_t current = 0;
    assert_ok(qdbg_ctx_memory(ctx, &current, peak));
    return current;
}

/* The heap checks alignment asked for and sizes given back. */
static void memory_is_aligned_zeroed_and_counted(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 100003};
    void *blocks[7];
    heap h;
    (void)state;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 1);
    uint64_t before = memory_of(ctx, NULL), peak;
    assert_int_equal(before, h.live_bytes);
    for (int i = 0; i < 7; i++) {
        unsigned char *p = blocks[i] = qdbg_ctx_alloc(ctx, sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(p[k], 0);
        assert_int_equal(memory_of(ctx, NULL), h.live_bytes);
    }
    uint64_t most = memory_of(ctx, NULL);
    for (int i = 0; i < 7; i++)
        qdbg_ctx_free(ctx, blocks[i], sizes[i]);
    assert_int_equal(memory_of(ctx, &peak), before);
    assert_int_equal(peak, most);
    qdbg_ctx_free(ctx, NULL, 5);
    qdbg_ctx_free(NULL, NULL, 5);
    assert_null(qdbg_ctx_alloc(NULL, 1));
    assert_int_equal(qdbg_ctx_memory(NULL, &peak, NULL), QDBG_E_INVALID);
    assert_ok(qdbg_ctx_memory(ctx, NULL, NULL));
    heap_end(&h, ctx);
}

static void without_memory_there_is_no_context(void **state)
{
    heap h;
    (void)state;
    heap_init(&h);
    qdbg_allocator a = heap_allocator(&h);
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = (qdbg_ctx *)&h;
    o.allocator = &a;
    heap_arm(&h, 1, true);
    assert_int_equal(qdbg_ctx_create(&o, &ctx), QDBG_E_NOMEM);
    heap_arm(&h, 0, false);
    o.memory_limit = 1;
    assert_int_equal(qdbg_ctx_create(&o, &ctx), QDBG_E_LIMIT);
    assert_ptr_equal(ctx, &h);
    assert_int_equal(h.n_live, 0);
}

static void memory_that_does_not_exist_is_refused(void **state)
{
    heap h;
    (void)state;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 1);
    heap_arm(&h, 1, false);
    assert_null(qdbg_ctx_alloc(ctx, 10));
    assert_int_equal(error_of(ctx).status, QDBG_E_NOMEM);
    uint64_t calls = h.n_calls;
    assert_null(qdbg_ctx_alloc(ctx, SIZE_MAX));
    assert_int_equal(error_of(ctx).status, QDBG_E_NOMEM);
    assert_int_equal(h.n_calls, calls); /* nobody was asked for it */
    heap_end(&h, ctx);
}

static void ceiling_holds_and_the_context_goes_on(void **state)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    heap h;
    (void)state;
    heap_init(&h);
    qdbg_allocator a = heap_allocator(&h);
    o.allocator = &a;
    o.threads = 1;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    uint64_t own = memory_of(ctx, NULL), peak;
    qdbg_ctx_destroy(ctx);
    o.memory_limit = own + 1000;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    assert_null(qdbg_ctx_alloc(ctx, 1001));
    assert_int_equal(error_of(ctx).status, QDBG_E_LIMIT);
    void *all = qdbg_ctx_alloc(ctx, 1000); /* to the last byte */
    assert_non_null(all);
    assert_null(qdbg_ctx_alloc(ctx, 1));
    qdbg_graph *g = NULL;
    assert_fails(ctx, qdbg_graph_create(ctx, 13, &g), QDBG_E_LIMIT, "ceiling");
    assert_null(g);
    qdbg_ctx_free(ctx, all, 1000);
    assert_ok(qdbg_graph_create(ctx, 13, &g));
    qdbg_graph_destroy(g);
    memory_of(ctx, &peak);
    assert_int_equal(peak, own + 1000);
    heap_end(&h, ctx);
}

/* ---- error details ---- */

static void details_are_those_of_the_last_call(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_error_info bad = QDBG_ERROR_INFO_INIT;
    qdbg_graph *g;
    (void)state;
    assert_int_equal(error_of(ctx).status, QDBG_OK);
    assert_string_equal(qdbg_ctx_error_message(ctx), "");
    assert_int_equal(qdbg_ctx_fail(ctx, QDBG_E_FORMAT, "conv1", "w", "broken"), QDBG_E_FORMAT);
    qdbg_error_info info = error_of(ctx);
    assert_int_equal(info.status, QDBG_E_FORMAT);
    assert_string_equal(info.message, "broken");
    assert_string_equal(info.node, "conv1");
    assert_string_equal(info.value, "w");
    assert_int_equal(info.callback_code, 0);
    /* The new record may be made of the old one. */
    assert_int_equal(qdbg_ctx_fail(ctx, QDBG_E_IO, info.value, info.message, info.node), QDBG_E_IO);
    info = error_of(ctx);
    assert_string_equal(info.message, "conv1");
    assert_string_equal(info.node, "w");
    assert_string_equal(info.value, "broken");
    qdbg_ctx_fail(ctx, QDBG_E_SHAPE, NULL, NULL, NULL);
    assert_string_equal(qdbg_ctx_error_message(ctx), "SHAPE");
    assert_string_equal(error_of(ctx).node, "");
    assert_ok(qdbg_graph_create(ctx, 13, &g));
    assert_int_equal(error_of(ctx).status, QDBG_OK);
    assert_string_equal(qdbg_ctx_error_message(ctx), "");
    qdbg_graph_destroy(g);
    bad.struct_size++;
    assert_int_equal(qdbg_ctx_error(ctx, &bad), QDBG_E_INVALID);
    assert_int_equal(qdbg_ctx_error(ctx, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_ctx_error(NULL, &info), QDBG_E_INVALID);
    assert_string_equal(qdbg_ctx_error_message(NULL), "");
    assert_int_equal(qdbg_ctx_fail(NULL, QDBG_E_IO, NULL, NULL, "x"), QDBG_E_IO);
    qdbg_ctx_destroy(ctx);
}

static void percent_signs_are_text(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    qdbg_ctx_fail(ctx, QDBG_E_IO, "%s", "%n", "100 %s %n");
    assert_string_equal(qdbg_ctx_error_message(ctx), "100 %s %n");
    qdbg_ctx_destroy(ctx);
}

/* `n` ASCII letters, then `count` copies of a character. */
static char *text_of(size_t n, const char *character, size_t count)
{
    size_t size = strlen(character);
    char *text = malloc(n + count * size + 1);
    assert_non_null(text);
    memset(text, 'a', n);
    for (size_t i = 0; i < count; i++)
        memcpy(text + n + i * size, character, size);
    text[n + count * size] = 0;
    return text;
}

static void long_texts_are_cut_between_characters(void **state)
{
    static const char *const characters[] = {"z", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x94\xa5"};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int c = 0; c < 4; c++)
        for (size_t lead = 0; lead < 4; lead++) {
            size_t size = strlen(characters[c]);
            char *text = text_of(lead, characters[c], 600);
            qdbg_ctx_fail(ctx, QDBG_E_IO, text, text, text);
            size_t kept = lead + (511 - lead) / size * size;
            assert_int_equal(strlen(qdbg_ctx_error_message(ctx)), kept);
            assert_memory_equal(qdbg_ctx_error_message(ctx), text, kept);
            qdbg_error_info info = error_of(ctx);
            assert_int_equal((strlen(info.node) - lead) % size, 0);
            assert_memory_equal(info.node, text, strlen(info.node));
            assert_string_equal(info.value, info.node);
            assert_true(strlen(info.node) > 100);
            free(text);
        }
    char *fits = text_of(511 - 4, characters[3], 1);
    qdbg_ctx_fail(ctx, QDBG_E_IO, NULL, NULL, fits);
    assert_string_equal(qdbg_ctx_error_message(ctx), fits);
    free(fits);
    qdbg_ctx_destroy(ctx);
}

/* ---- log ---- */

typedef struct lines {
    int n;
    int32_t level;
    char last[600];
} lines;

static void keep_line(void *user, int32_t level, const char *message)
{
    lines *l = user;
    l->n++;
    l->level = level;
    snprintf(l->last, sizeof l->last, "%s", message);
}

static void log_takes_what_its_level_lets_through(void **state)
{
    (void)state;
    for (int32_t level = 0; level <= QDBG_LOG_DEBUG; level++) {
        lines l = {0};
        qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
        qdbg_ctx *ctx;
        o.log = keep_line;
        o.log_user = &l;
        o.log_level = level;
        assert_ok(qdbg_ctx_create(&o, &ctx));
        int32_t most = level ? level : QDBG_LOG_WARNING;
        for (int32_t sent = QDBG_LOG_ERROR; sent <= QDBG_LOG_DEBUG; sent++) {
            l.n = 0;
            qdbg_ctx_log(ctx, sent, "100 %s");
            assert_int_equal(l.n, sent <= most);
            if (l.n == 0)
                continue;
            assert_int_equal(l.level, sent);
            assert_string_equal(l.last, "100 %s");
        }
        l.n = 0;
        qdbg_ctx_log(ctx, QDBG_LOG_ERROR, NULL);
        assert_int_equal(l.n, 0);
        qdbg_graph *g;
        qdbg_graph_create(ctx, 1, &g);
        assert_int_equal(l.n, 1); /* failures are logged */
        assert_string_equal(l.last, qdbg_ctx_error_message(ctx));
        qdbg_ctx_destroy(ctx);
    }
    qdbg_ctx_log(NULL, QDBG_LOG_ERROR, "x");
}

/* Calls the library, which clears the record of failures. */
static void call_back(void *user, int32_t level, const char *message)
{
    qdbg_ctx *ctx = *(qdbg_ctx **)user;
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    qdbg_encoding e = QDBG_ENCODING_INIT;
    (void)level, (void)message;
    if (ctx)
        assert_ok(qdbg_encoding_from_range(ctx, &spec, 0, 1, &e));
}

/* What a call returns is what it failed with, and its words are there to be read after it. */
static void log_may_call_the_library(void **state)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    qdbg_ctx *ctx = NULL;
    qdbg_graph *graphs[64] = {NULL};
    qdbg_status status = QDBG_OK;
    int n = 0;
    (void)state;
    o.log = call_back;
    o.log_user = &ctx;
    o.memory_limit = 4096;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    while (n < 64 && (status = qdbg_graph_create(ctx, 13, &graphs[n])) == QDBG_OK)
        n++;
    assert_int_equal(status, QDBG_E_LIMIT);
    assert_null(graphs[n]);
    assert_ok(qdbg_ctx_error(ctx, &info));
    assert_int_equal(info.status, QDBG_E_LIMIT);
    assert_non_null(strstr(info.message, "ceiling"));
    while (n > 0)
        qdbg_graph_destroy(graphs[--n]);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_that_of_the_header),
        cmocka_unit_test(every_status_has_its_name),
        cmocka_unit_test(init_functions_do_what_the_macros_do),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(options_reach_the_context),
        cmocka_unit_test(memory_is_aligned_zeroed_and_counted),
        cmocka_unit_test(without_memory_there_is_no_context),
        cmocka_unit_test(memory_that_does_not_exist_is_refused),
        cmocka_unit_test(ceiling_holds_and_the_context_goes_on),
        cmocka_unit_test(details_are_those_of_the_last_call),
        cmocka_unit_test(percent_signs_are_text),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(log_takes_what_its_level_lets_through),
        cmocka_unit_test(log_may_call_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
