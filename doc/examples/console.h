/* What the program says on stderr: errors, warnings and how far it is. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

/* Quiet: errors only. Otherwise a progress bar on a terminal and plain lines elsewhere. */
void console_init(bool quiet);

/* One line, "qdebug-diagnose: " before it. Control characters, which a file may bring along, are
 * replaced. */
__attribute__((format(printf, 1, 2))) void console_error(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void console_warning(const char *fmt, ...);

/* Tell what `message` says about `file`, which is put before it unless it is named there. */
void console_failure(const char *file, const char *message);

/* Show that `done` of `total` units of `stage` are finished. A new stage ends the one before. */
void console_progress(const char *stage, uint64_t done, uint64_t total);

/* End the stage that is being shown, if there is one. */
void console_end_stage(void);

/* Seconds of a clock that only goes forward. */
double console_now(void);

#endif
