#include "sort.h"

#include <string.h>

static void swap(char *a, char *b, size_t size)
{
    char held[64];
    while (size > 0) {
        size_t part = size < sizeof held ? size : sizeof held;
        memcpy(held, a, part);
        memcpy(a, b, part);
        memcpy(b, held, part);
        a += part;
        b += part;
        size -= part;
    }
}

/* Below `root` all is a heap; make it one with `root`. */
static void sink(char *base, size_t root, size_t n, size_t size, qdbg__compare_fn compare)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        char *c = base + child * size;
        if (child + 1 < n && compare(c, c + size) < 0) {
            child++;
            c += size;
        }
        if (compare(base + root * size, c) >= 0)
            return;
        swap(base + root * size, c, size);
    }
}

void qdbg__sort(void *base, size_t n, size_t size, qdbg__compare_fn compare)
{
    char *elements = base;
    for (size_t i = n / 2; i-- > 0;)
        sink(elements, i, n, size, compare);
    for (size_t end = n; end-- > 1;) {
        swap(elements, elements + end * size, size);
        sink(elements, 0, end, size, compare);
    }
}
