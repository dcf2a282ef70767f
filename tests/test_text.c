/* Texts that grow and texts that flow, UTF-8, and numbers in any locale. */
#define _POSIX_C_SOURCE 200809L
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "support.h"

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 32 ^ *seed << 17;
}

/* ---- texts ---- */

static void test_take(void **state)
{
    heap h;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 1);
    qdbg__text t = qdbg__text_make(ctx);
    char want[1001];
    (void)state;
    memset(want, 'x', 1000);
    want[1000] = 0;
    qdbg__text_add(&t, "a");
    qdbg__text_repeat(&t, '-', 130);
    qdbg__text_addf(&t, "%s %d", want, 7);
    qdbg__text_add_n(&t, "bcd", 2);
    char *s = qdbg__text_take(&t);
    assert_int_equal(strlen(s), 1 + 130 + 1000 + 2 + 2);
    assert_memory_equal(s + 131, want, 1000);
    assert_string_equal(s + 1131, " 7bc");
    qdbg__strfree(ctx, s);
    s = qdbg__text_take(&t);
    assert_string_equal(s, "");
    qdbg__strfree(ctx, s);
    heap_end(&h, ctx);
}

static void test_take_without_memory(void **state)
{
    heap h;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 1);
    char *s = NULL, long_text[400];
    (void)state;
    memset(long_text, 'y', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    for (uint64_t k = 1; !s; k++) {
        qdbg__text t = qdbg__text_make(ctx);
        heap_arm(&h, k, false);
        for (int i = 0; i < 5; i++)
            qdbg__text_addf(&t, "%s", long_text);
        qdbg__text_double(&t, 0.5);
        s = qdbg__text_take(&t);
        assert_true(s || error_of(ctx).status == QDBG_E_NOMEM);
        assert_int_equal(h.n_live, s ? 2 : 1);
    }
    assert_int_equal(strlen(s), 5 * 399 + 3);
    heap_arm(&h, 0, false);
    qdbg__strfree(ctx, s);
    heap_end(&h, ctx);
}

typedef struct flow {
    qdbg_ctx *ctx;
    size_t size, largest;
    int n_calls, fail_at;
} flow;

static qdbg_status take_piece(void *user, const char *data, size_t size)
{
    flow *f = user;
    for (size_t i = 0; i < size; i++)
        assert_int_equal((unsigned char)data[i], (f->size + i) % 251);
    f->size += size;
    f->largest = size > f->largest ? size : f->largest;
    return ++f->n_calls == f->fail_at ? qdbg__fail(f->ctx, QDBG_E_IO, "full") : QDBG_OK;
}

/* Pieces of all sizes come out in order, whole, and never more than 64 KiB at once. */
static void test_stream(void **state)
{
    static char bytes[251 * 1000];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i % 251);
    for (int fail_at = 0; fail_at < 4; fail_at++) {
        heap h;
        heap_init(&h);
        flow f = {heap_ctx(&h, 1), 0, 0, 0, fail_at};
        qdbg__text t = qdbg__text_stream(f.ctx, take_piece, &f);
        size_t sent = 0;
        for (size_t n = 1; sent + n <= sizeof bytes; n = n * 3 + 1) {
            qdbg__text_add_n(&t, bytes + sent, n);
            sent += n;
        }
        assert_true(h.live_bytes < 65536 + sizeof(qdbg_ctx) + 1024);
        assert_int_equal(qdbg__text_finish(&t), fail_at ? QDBG_E_IO : QDBG_OK);
        assert_true(f.largest <= 65536 && (fail_at ? f.n_calls == fail_at : f.size == sent));
        heap_end(&h, f.ctx);
    }
}

/* ---- UTF-8 ---- */

static void check_utf8(const char *text, const uint32_t *want)
{
    const char *p = text;
    do
        assert_int_equal(qdbg__utf8_next(&p), *want);
    while (*want++ != 0);
    assert_ptr_equal(p, text + strlen(text));
    assert_int_equal(qdbg__utf8_next(&p), 0);
}

#define CODES(...) ((const uint32_t[]){__VA_ARGS__, 0})
#define BAD QDBG__UTF8_BAD

static void test_utf8(void **state)
{
    (void)state;
    check_utf8("", (const uint32_t[]){0});
    check_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", CODES('a', 0xe9, 0x20ac, 0x1f600, 'z'));
    check_utf8("\x80z", CODES(BAD, 'z'));
    check_utf8("\xc0\xaf", CODES(BAD, BAD));          /* too long */
    check_utf8("\xe0\x80\xaf", CODES(BAD, BAD, BAD)); /* too long */
    check_utf8("\xed\xa0\x80", CODES(BAD, BAD, BAD)); /* a surrogate */
    check_utf8("\xf4\x90\x80\x80", CODES(BAD, BAD, BAD, BAD));
    check_utf8("\xf5z", CODES(BAD, 'z'));
    check_utf8("\xe2\x82", CODES(BAD)); /* cut: one for the whole */
    check_utf8("\xf0\x9f\x98z", CODES(BAD, 'z'));
    check_utf8("\xf0\x80z", CODES(BAD, BAD, 'z'));
}

/* Every code point survives being written and read. */
static void test_utf8_round_trip(void **state)
{
    qdbg_ctx *ctx = NULL;
    assert_ok(qdbg_ctx_create(NULL, &ctx));
    qdbg__text t = qdbg__text_make(ctx);
    (void)state;
    for (uint32_t c = 1; c < 0x110000; c += c == 0xd7ff ? 0x801 : 1)
        qdbg__text_code_point(&t, c);
    char *s = qdbg__text_take(&t);
    const char *p = s;
    for (uint32_t c = 1; c < 0x110000; c += c == 0xd7ff ? 0x801 : 1)
        if (qdbg__utf8_next(&p) != c)
            fail_msg("U+%04X", (unsigned)c);
    assert_int_equal(*p, 0);
    qdbg__strfree(ctx, s);
    qdbg_ctx_destroy(ctx);
}

/* ---- numbers ---- */

static void check_shortest(double v, const char *want)
{
    char out[QDBG__NUMBER_SIZE];
    assert_int_equal(qdbg__format_double(out, v), strlen(want));
    assert_string_equal(out, want);
}

static void check_fixed(double v, int decimals, const char *want)
{
    char out[QDBG__NUMBER_SIZE];
    assert_int_equal(qdbg__format_fixed(out, v, decimals), strlen(want));
    assert_string_equal(out, want);
}

static void check_digits(double v, int digits, const char *want)
{
    char out[QDBG__NUMBER_SIZE];
    assert_int_equal(qdbg__format_digits(out, v, digits), strlen(want));
    assert_string_equal(out, want);
}

static void check_numbers(void)
{
    char out[QDBG__NUMBER_SIZE];
    check_shortest(0, "0");
    check_shortest(-0.0, "-0");
    check_shortest(0.1, "0.1");
    check_shortest(1.0 / 3, "0.3333333333333333");
    check_shortest(0.1 + 0.2, "0.30000000000000004");
    check_shortest(-1234.5, "-1234.5");
    check_shortest(100, "100");
    check_shortest(0.00001, "0.00001");
    check_shortest(1.5e-6, "1.5e-6");
    check_shortest(123456789012345, "123456789012345");
    check_shortest(1e15, "1e15");
    check_shortest(DBL_MAX, "1.7976931348623157e308");
    check_shortest(DBL_MIN, "2.2250738585072014e-308");
    check_shortest(5e-324, "5e-324");
    check_shortest((double)NAN, "nan");
    check_shortest((double)INFINITY, "inf");
    check_shortest(-(double)INFINITY, "-inf");
    qdbg__format_float(out, 0.1f);
    assert_string_equal(out, "0.1");
    qdbg__format_float(out, FLT_MAX);
    assert_string_equal(out, "3.4028235e38");
    qdbg__format_float(out, 1e-45f);
    assert_string_equal(out, "1e-45");
    check_fixed(0.92304, 4, "0.9230");
    check_fixed(-0.00004, 4, "0.0000");
    check_fixed(-0.00006, 4, "-0.0001");
    check_fixed(-12.5, 1, "-12.5");
    check_fixed(2.6, 0, "3");
    check_fixed(999999999999999, 2, "999999999999999.00");
    check_fixed(-1e15, 2, "-1e15");
    check_fixed((double)INFINITY, 2, "inf");
    check_digits(0, 3, "0");
    check_digits(-0.0, 3, "0");
    check_digits(0.0123456, 3, "0.0123");
    check_digits(-98765.4, 3, "-98800");
    check_digits(1.5, 9, "1.5");
    check_digits(1e-9, 2, "1e-9");
}

static void test_numbers(void **state)
{
    (void)state;
    check_numbers();
}

/* Random bits read back as the same number, and no shorter text does. */
static void test_numbers_round_trip(void **state)
{
    uint64_t seed = 1;
    char out[QDBG__NUMBER_SIZE], shorter[64];
    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = next_random(&seed) << 32 | (next_random(&seed) & 0xffffffffu);
        uint32_t half = (uint32_t)bits;
        double d;
        float f;
        memcpy(&d, &bits, sizeof d);
        memcpy(&f, &half, sizeof f);
        if (isfinite(d)) {
            qdbg__format_double(out, d);
            assert_true(strtod(out, NULL) == d);
            int digits = 0;
            for (const char *p = out; *p && *p != 'e'; p++)
                digits += *p >= '0' && *p <= '9';
            snprintf(shorter, sizeof shorter, "%.*e", digits > 1 ? digits - 2 : 0, d);
            assert_true(digits < 2 || strchr(out, 'e') == NULL || strtod(shorter, NULL) != d);
        }
        if (isfinite(f)) {
            qdbg__format_float(out, f);
            assert_true(strtof(out, NULL) == f);
        }
    }
}

/* Make `name` the locale, from the system or from one that is compiled here. */
static bool enter_locale(const char *name, const char *source, const char *folder)
{
    char command[256];
    if (setlocale(LC_ALL, name))
        return true;
    snprintf(command, sizeof command, "localedef -c -i %s -f UTF-8 %s/%s >/dev/null 2>&1", source,
             folder, name);
    /* localedef fails on mere warnings; what counts is whether the locale can be entered. */
    if (system(command) == -1)
        return false;
    setenv("LOCPATH", folder, 1);
    bool entered = setlocale(LC_ALL, name) != NULL;
    unsetenv("LOCPATH");
    return entered;
}

static void check_in_locale(const char *name, const char *source)
{
    char folder[] = "/tmp/qdebug-locale-XXXXXX", command[64];
    assert_non_null(mkdtemp(folder));
    if (enter_locale(name, source, folder)) {
        assert_string_not_equal(localeconv()->decimal_point, ".");
        check_numbers();
    } else {
        print_message("no locale %s: skipped\n", name);
    }
    setlocale(LC_ALL, "C");
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_numbers_behind_a_comma(void **state)
{
    (void)state;
    check_in_locale("de_DE.UTF-8", "de_DE");
}

/* The decimal point of Pashto has two bytes. */
static void test_numbers_behind_a_long_point(void **state)
{
    (void)state;
    check_in_locale("ps_AF.UTF-8", "ps_AF");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_take_without_memory),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_round_trip),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_numbers_round_trip),
        cmocka_unit_test(test_numbers_behind_a_comma),
        cmocka_unit_test(test_numbers_behind_a_long_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
