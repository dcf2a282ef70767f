/* The HTML report under a checker that knows the few rules which the page keeps. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "report_make.h"

static bool is_one_of(const char *name, size_t n, const char *words)
{
    for (const char *p = words; *p; p += strcspn(p, " ") + 1)
        if (strcspn(p, " ") == n && memcmp(p, name, n) == 0)
            return true;
    return false;
}

/* `p` behind a tag's name: attributes must be quoted, ids unique, references within the page. */
static const char *check_attributes(const char *page, const char *p)
{
    while (*p == ' ') {
        size_t n = strcspn(++p, "=> ");
        const char *name = p;
        assert_true(n > 0 && !is_one_of(name, n, "src srcset data action background "));
        p += n;
        if (*p != '=')
            continue;
        assert_int_equal(p[1], '"');
        size_t length = strcspn(p + 2, "\"");
        assert_true(!is_one_of(name, n, "href ") || p[2] == '#');
        if (is_one_of(name, n, "id ")) {
            char attribute[64];
            snprintf(attribute, sizeof attribute, " id=\"%.*s\"", (int)length, p + 2);
            assert_null(strstr(strstr(page, attribute) + 1, attribute));
        }
        p += length + 3;
    }
    assert_int_equal(*p, '>');
    return p + 1;
}

/* Tags are balanced, and "<", "&" and controls appear in no other use. */
static void check_html(const char *page)
{
    struct {
        const char *name;
        size_t n;
    } open[32];
    size_t depth = 0;
    const char *p = page + strlen("<!DOCTYPE html>");
    while (*p) {
        if (*p == '&')
            assert_true(is_one_of(p, strcspn(p, ";"), "&amp &lt &gt &quot &#39 "));
        if (*p != '<') {
            assert_true((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t');
            p++;
            continue;
        }
        bool closing = p[1] == '/';
        const char *name = p + 1 + closing;
        size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
        assert_true(n > 0);
        p = check_attributes(page, name + n);
        if (closing) {
            assert_true(depth > 0 && open[depth - 1].n == n);
            assert_memory_equal(open[--depth].name, name, n);
        } else if (!is_one_of(name, n, "meta input wbr ")) {
            assert_true(depth < 32);
            open[depth].name = name;
            open[depth++].n = n;
            if (is_one_of(name, n, "style script "))
                p = strstr(p, "</");
        }
    }
    assert_int_equal(depth, 0);
}

static void test_html(void **state)
{
    (void)state;
    for (size_t n = 0; n < 1500; n = n * 6 + 1) {
        world w = world_make(n);
        char *page = world_report(&w, QDBG_REPORT_HTML, NULL);
        check_html(page);
        assert_non_null(strstr(page, "<li>rules tflite, biases int32</li>"));
        for (const char *const *bad = (const char *const[]){"http:", "https:", "url(", "@import",
                                                            "<img", "\xff", "\x1b", NULL};
             *bad; bad++)
            assert_null(strstr(page, *bad));
        assert_null(strstr(page, "\xe2\x80\xae"));
        if (n > 8)
            assert_non_null(strstr(page, "back\\slash &amp; &#39;single&#39; &lt;b&gt;"));
        free(page);
        world_end(&w);
    }
}

/* Numbers of any size, or none, give a page all the same, and the other formats as well. */
static void test_hostile_numbers(void **state)
{
    static const double values[] = {
        0,           -0.0,   1,   -1,          5e-324,           1e-12,
        1e30,        -1e300, 1.0, DBL_MAX,     -DBL_MAX,         0.1,
        0.1 + 1e-16, 1e16,   64,  (double)NAN, (double)INFINITY, -(double)INFINITY};
    const size_t n_values = sizeof values / sizeof *values;
    uint32_t seed = 1;
    (void)state;
#define ANY() values[(seed = seed * 1664525 + 1013904223, (seed >> 8) % n_values)]
    for (int round = 0; round < 400; round++) {
        world w = world_make(6);
        w.diagnosis->summary.float_score = ANY();
        w.diagnosis->summary.quantized_score = ANY();
        w.diagnosis->summary.max_drop = ANY();
        for (size_t i = 0; i < N_STEPS; i++) {
            qdbg_step *s = &w.diagnosis->steps[i];
            s->score = ANY();
            s->drop = ANY();
            s->half_width = ANY();
            s->sqnr_db = ANY();
        }
        for (size_t i = 0; i < 6; i++) {
            qdbg_finding *f = &w.diagnosis->findings[i];
            f->score_alone = ANY();
            f->drop_alone = ANY();
            f->output_sqnr_db = ANY();
            f->noise_share = ANY();
            f->scale = (float)ANY();
            f->order = round % 2 ? (uint32_t)i : UINT32_MAX;
        }
        for (int32_t format = 1; format <= N_FORMATS; format++) {
            char *text = world_report(&w, format, NULL);
            assert_null(strstr(text, "nan"));
            if (format == QDBG_REPORT_HTML)
                check_html(text);
            free(text);
        }
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_hostile_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
