/* Sorting in place (lib/base/sort.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/base/sort.h"
#include "conformance/one_node.h"

/* Larger than what is swapped at once, and not a multiple of it. */
typedef struct record {
    int32_t key;
    char load[97];
} record;

static int by_key(const void *a, const void *b)
{
    int32_t x = ((const record *)a)->key, y = ((const record *)b)->key;
    return x < y ? -1 : x > y;
}

static int by_int(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static int by_byte(const void *a, const void *b)
{
    return *(const uint8_t *)a - *(const uint8_t *)b;
}

/* All lengths up to 200, with few and with many different keys: the same as C's own sort. */
static void numbers_come_in_order(void **state)
{
    int32_t got[200], want[200];
    (void)state;
    for (int64_t range = 1; range < 1 << 20; range *= 8)
        for (size_t n = 0; n <= 200; n++) {
            for (size_t i = 0; i < n; i++)
                got[i] = want[i] = (int32_t)pick(-range, range);
            qdbg__sort(got, n, sizeof *got, by_int);
            qsort(want, n, sizeof *want, by_int);
            assert_memory_equal(got, want, n * sizeof *got);
        }
}

static void sorted_and_reversed_lists_come_in_order(void **state)
{
    enum { N = 1000 };
    static int32_t up[N], down[N];
    (void)state;
    for (int32_t i = 0; i < N; i++) {
        up[i] = i;
        down[i] = N - 1 - i;
    }
    qdbg__sort(up, N, sizeof *up, by_int);
    qdbg__sort(down, N, sizeof *down, by_int);
    for (int32_t i = 0; i < N; i++)
        assert_true(up[i] == i && down[i] == i);
}

/* What belongs to a key goes with it, and what lies around the list stays. */
static void elements_move_as_a_whole(void **state)
{
    enum { N = 300 };
    static record list[N + 2];
    (void)state;
    for (int32_t i = 0; i < N + 2; i++) {
        list[i].key = (int32_t)((uint32_t)i * 7919 % 1009);
        memset(list[i].load, list[i].key & 127, sizeof list[i].load);
    }
    record first = list[0], last = list[N + 1];
    qdbg__sort(list + 1, N, sizeof *list, by_key);
    for (int i = 1; i <= N; i++) {
        assert_true(i == N || list[i].key <= list[i + 1].key);
        for (size_t k = 0; k < sizeof list[i].load; k++)
            assert_int_equal(list[i].load[k], list[i].key & 127);
    }
    assert_memory_equal(&list[0], &first, sizeof first);
    assert_memory_equal(&list[N + 1], &last, sizeof last);
}

static void bytes_and_nothing_are_sorted_too(void **state)
{
    uint8_t bytes[] = {3, 255, 0, 3, 128, 1}, want[] = {0, 1, 3, 3, 128, 255};
    (void)state;
    qdbg__sort(bytes, sizeof bytes, 1, by_byte);
    assert_memory_equal(bytes, want, sizeof want);
    qdbg__sort(NULL, 0, 8, by_int);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_in_order),
        cmocka_unit_test(sorted_and_reversed_lists_come_in_order),
        cmocka_unit_test(elements_move_as_a_whole),
        cmocka_unit_test(bytes_and_nothing_are_sorted_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
