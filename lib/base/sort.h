/* Sorting in place. C's qsort may take memory of its own, which would pass by the context's
 * allocator. */
#ifndef QDBG_BASE_SORT_H
#define QDBG_BASE_SORT_H

#include <stddef.h>

/* Negative, 0 or positive as `a` comes before, with or after `b`. */
typedef int (*qdbg__compare_fn)(const void *a, const void *b);

/* Sort `n` elements of `size` bytes, ascending, by heapsort: n log n at worst. Equal elements end
 * in any order, the same on every machine: where that shows, the comparison has to decide. */
void qdbg__sort(void *base, size_t n, size_t size, qdbg__compare_fn compare);

#endif
