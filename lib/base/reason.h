/* Why the system refused a file, in words of our own: strerror follows the locale. Layer 0. */
#ifndef QDBG_BASE_REASON_H
#define QDBG_BASE_REASON_H

#include <stdbool.h>
#include <stddef.h>

#define QDBG__REASON_SIZE ((size_t)32)

/* `error` is an errno. `to_write`: what is missing is then the folder, not the file. The result is
 * a constant, or `text`. */
const char *qdbg__reason(int error, bool to_write, char text[QDBG__REASON_SIZE]);

#endif
