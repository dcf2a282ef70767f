/* Text that is built piece by piece, and numbers that look the same in every locale. Layer 0.
 *
 * A text keeps its first failure: after it, whatever is added is dropped, so that a writer may add
 * a hundred pieces and look at the status once. */
#ifndef QDBG_BASE_TEXT_H
#define QDBG_BASE_TEXT_H

#include "ctx.h"

/* Takes what was written so far. Returns QDBG_OK, or a failure that it has recorded. */
typedef qdbg_status (*qdbg__text_sink)(void *user, const char *data, size_t size);

typedef struct qdbg__text {
    qdbg_ctx *ctx;
    char *data; /* [size], not terminated */
    size_t size, capacity;
    qdbg_status status;
    qdbg__text_sink sink; /* NULL: the text grows */
    void *user;
} qdbg__text;

/* A text that grows. End it with qdbg__text_take or qdbg__text_drop. */
qdbg__text qdbg__text_make(qdbg_ctx *ctx);

/* A text that is handed to `sink` in pieces and never holds more than 64 KiB. End it with
 * qdbg__text_finish. */
qdbg__text qdbg__text_stream(qdbg_ctx *ctx, qdbg__text_sink sink, void *user);

/* The text as a string that qdbg__strfree frees; NULL with the failure recorded. The text is empty
 * afterwards and may be used again. */
char *qdbg__text_take(qdbg__text *text);

/* Hand over the rest of a stream, free its memory and tell how it went. */
qdbg_status qdbg__text_finish(qdbg__text *text);

void qdbg__text_drop(qdbg__text *text);

void qdbg__text_add(qdbg__text *text, const char *string);
void qdbg__text_add_n(qdbg__text *text, const char *data, size_t size);
void qdbg__text_repeat(qdbg__text *text, char c, size_t n);
void qdbg__text_code_point(qdbg__text *text, uint32_t code_point);

/* printf without floating point: that would follow the locale. Numbers go through the functions
 * below. */
void qdbg__text_addf(qdbg__text *text, const char *fmt, ...) QDBG__PRINTF(2, 3);

/* ---- UTF-8 ---- */

#define QDBG__UTF8_BAD UINT32_MAX /* bytes that are no UTF-8 */
#define QDBG__REPLACEMENT 0xfffdu /* the character that stands for them */

/* The code point at `*p`, which moves behind it; 0 at the end, where `*p` stays. A byte or a cut
 * sequence that is no UTF-8 gives QDBG__UTF8_BAD, once for each sequence that could have begun. */
uint32_t qdbg__utf8_next(const char **p);

/* ---- numbers: ASCII digits, '.' as decimal point, terminated; the length is returned ---- */

#define QDBG__NUMBER_SIZE 40

/* The fewest digits that read back as the same number: "0.1", "1e-7", "-0", "nan", "inf". */
size_t qdbg__format_double(char out[QDBG__NUMBER_SIZE], double v);
size_t qdbg__format_float(char out[QDBG__NUMBER_SIZE], float v);

/* `decimals` (0..9) digits behind the point, "0.00" rather than "-0.00"; from 1e15 on as
 * qdbg__format_digits does with six. */
size_t qdbg__format_fixed(char out[QDBG__NUMBER_SIZE], double v, int decimals);

/* At most `digits` (1..17) significant digits, zeros at the end left out. */
size_t qdbg__format_digits(char out[QDBG__NUMBER_SIZE], double v, int digits);

void qdbg__text_double(qdbg__text *text, double v);
void qdbg__text_float(qdbg__text *text, float v);
void qdbg__text_fixed(qdbg__text *text, double v, int decimals);
void qdbg__text_digits(qdbg__text *text, double v, int digits);

#endif
