#include "text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_CAPACITY ((size_t)64 * 1024)

/* ---- the buffer ---- */

qdbg__text qdbg__text_make(qdbg_ctx *ctx)
{
    return (qdbg__text){.ctx = ctx, .status = QDBG_OK};
}

qdbg__text qdbg__text_stream(qdbg_ctx *ctx, qdbg__text_sink sink, void *user)
{
    return (qdbg__text){.ctx = ctx, .status = QDBG_OK, .sink = sink, .user = user};
}

static void flush(qdbg__text *text)
{
    if (text->status == QDBG_OK && text->size > 0)
        text->status = text->sink(text->user, text->data, text->size);
    text->size = 0;
}

static void add_to_stream(qdbg__text *text, const char *data, size_t size)
{
    if (text->capacity == 0)
        text->status = qdbg__reserve(text->ctx, &text->data, &text->capacity, STREAM_CAPACITY, 1);
    while (size > 0 && text->status == QDBG_OK) {
        if (text->size == text->capacity)
            flush(text);
        size_t room = text->capacity - text->size;
        size_t n = size < room ? size : room;
        memcpy(text->data + text->size, data, n);
        text->size += n;
        data += n;
        size -= n;
    }
}

void qdbg__text_add_n(qdbg__text *text, const char *data, size_t size)
{
    if (text->status != QDBG_OK || size == 0)
        return;
    if (text->sink) {
        add_to_stream(text, data, size);
        return;
    }
    if (size > SIZE_MAX / 2 - text->size) {
        text->status = qdbg__fail(text->ctx, QDBG_E_NOMEM, "a text is too long for memory");
        return;
    }
    text->status = qdbg__reserve(text->ctx, &text->data, &text->capacity, text->size + size, 1);
    if (text->status != QDBG_OK)
        return;
    memcpy(text->data + text->size, data, size);
    text->size += size;
}

char *qdbg__text_take(qdbg__text *text)
{
    char *string = NULL;
    if (text->status == QDBG_OK)
        string = qdbg__alloc(text->ctx, text->size + 1, 1);
    if (string && text->size > 0)
        memcpy(string, text->data, text->size);
    qdbg__text_drop(text);
    return string;
}

qdbg_status qdbg__text_finish(qdbg__text *text)
{
    flush(text);
    qdbg_status status = text->status;
    qdbg__text_drop(text);
    return status;
}

void qdbg__text_drop(qdbg__text *text)
{
    qdbg__free(text->ctx, text->data, text->capacity, 1);
    text->data = NULL;
    text->size = 0;
    text->capacity = 0;
    text->status = QDBG_OK;
}

void qdbg__text_add(qdbg__text *text, const char *string)
{
    qdbg__text_add_n(text, string, strlen(string));
}

void qdbg__text_repeat(qdbg__text *text, char c, size_t n)
{
    char block[64];
    memset(block, c, sizeof block);
    for (; n > sizeof block; n -= sizeof block)
        qdbg__text_add_n(text, block, sizeof block);
    qdbg__text_add_n(text, block, n);
}

static void add_long(qdbg__text *text, size_t size, const char *fmt, va_list args)
{
    char *piece = qdbg__alloc(text->ctx, size, 1);
    if (!piece) {
        text->status = text->ctx->error_status;
        return;
    }
    vsnprintf(piece, size, fmt, args);
    qdbg__text_add_n(text, piece, size - 1);
    qdbg__free(text->ctx, piece, size, 1);
}

void qdbg__text_addf(qdbg__text *text, const char *fmt, ...)
{
    if (text->status != QDBG_OK)
        return;
    char piece[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(piece, sizeof piece, fmt, args);
    va_end(args);
    if (n < 0)
        text->status = qdbg__fail(text->ctx, QDBG_E_INVALID, "a text cannot be formatted");
    else if ((size_t)n < sizeof piece)
        qdbg__text_add_n(text, piece, (size_t)n);
    else
        add_long(text, (size_t)n + 1, fmt, again);
    va_end(again);
}

/* ---- UTF-8 ---- */

void qdbg__text_code_point(qdbg__text *text, uint32_t c)
{
    char bytes[4];
    size_t n = 0;
    if (c < 0x80) {
        bytes[n++] = (char)c;
    } else if (c < 0x800) {
        bytes[n++] = (char)(0xc0 | c >> 6);
        bytes[n++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        bytes[n++] = (char)(0xe0 | c >> 12);
        bytes[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (c & 0x3f));
    } else {
        bytes[n++] = (char)(0xf0 | c >> 18);
        bytes[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        bytes[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (c & 0x3f));
    }
    qdbg__text_add_n(text, bytes, n);
}

/* The Unicode Standard, table 3-7: only the second byte's range depends on the first byte. */
uint32_t qdbg__utf8_next(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    unsigned char low = 0x80, high = 0xbf;
    if (s[0] == 0)
        return 0;
    *p += 1;
    if (s[0] < 0x80)
        return s[0];
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return QDBG__UTF8_BAD;
    int n = s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    uint32_t c = s[0] & (0x3fu >> n);
    if (s[0] == 0xe0)
        low = 0xa0; /* shorter forms exist */
    else if (s[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    for (int i = 1; i <= n; i++) {
        if (s[i] < low || s[i] > high)
            return QDBG__UTF8_BAD;
        c = c << 6 | (s[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
        *p += 1;
    }
    return c;
}

/* ---- numbers ---- */

/* d1.d2d3... x 10^exponent, without zeros at the end. */
typedef struct decimal {
    bool negative;
    int exponent;
    int n;
    char digits[20];
} decimal;

static size_t put_nonfinite(char *out, double v)
{
    const char *word = isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
    size_t n = strlen(word);
    memcpy(out, word, n + 1);
    return n;
}

/* The locale's decimal point may be any bytes that are no digits. */
static void parse(const char *raw, decimal *d)
{
    d->negative = raw[0] == '-';
    d->n = 0;
    for (; *raw && *raw != 'e'; raw++)
        if (*raw >= '0' && *raw <= '9' && d->n < (int)sizeof d->digits)
            d->digits[d->n++] = *raw;
    d->exponent = *raw ? atoi(raw + 1) : 0;
    while (d->n > 1 && d->digits[d->n - 1] == '0')
        d->n--;
}

static size_t put_scientific(char *out, const decimal *d)
{
    size_t n = 0;
    out[n++] = d->digits[0];
    if (d->n > 1) {
        out[n++] = '.';
        memcpy(out + n, d->digits + 1, (size_t)d->n - 1);
        n += (size_t)d->n - 1;
    }
    return n + (size_t)snprintf(out + n, 8, "e%d", d->exponent);
}

static size_t put_plain(char *out, const decimal *d)
{
    size_t n = 0;
    if (d->exponent < 0) {
        out[n++] = '0';
        out[n++] = '.';
        for (int i = -1; i > d->exponent; i--)
            out[n++] = '0';
    }
    for (int i = 0; i < d->n || i <= d->exponent; i++) {
        if (i > 0 && i == d->exponent + 1)
            out[n++] = '.';
        out[n++] = i < d->n ? d->digits[i] : '0';
    }
    out[n] = 0;
    return n;
}

static size_t put(char *out, const decimal *d)
{
    size_t sign = d->negative;
    if (sign)
        out[0] = '-';
    bool plain = d->exponent >= -5 && d->exponent < 15;
    return sign + (plain ? put_plain(out + sign, d) : put_scientific(out + sign, d));
}

/* Numbers that a decimal of `from` digits can hold come out right with `from` digits, however few
 * they need, since zeros at the end are left out; so the search starts there. The text is read
 * back as it was printed, so the locale does not matter. */
static size_t shortest(char *out, double v, int from, int to, bool is_float)
{
    char raw[QDBG__NUMBER_SIZE];
    for (int digits = from; digits <= to; digits++) {
        snprintf(raw, sizeof raw, "%.*e", digits - 1, v);
        if ((is_float ? (double)strtof(raw, NULL) : strtod(raw, NULL)) == v)
            break;
    }
    decimal d;
    parse(raw, &d);
    return put(out, &d);
}

size_t qdbg__format_double(char out[QDBG__NUMBER_SIZE], double v)
{
    if (!isfinite(v))
        return put_nonfinite(out, v);
    /* Subnormal numbers have fewer digits to give. */
    return shortest(out, v, fabs(v) < DBL_MIN ? 1 : DBL_DIG, DBL_DECIMAL_DIG, false);
}

size_t qdbg__format_float(char out[QDBG__NUMBER_SIZE], float v)
{
    if (!isfinite(v))
        return put_nonfinite(out, (double)v);
    return shortest(out, (double)v, fabsf(v) < FLT_MIN ? 1 : FLT_DIG, FLT_DECIMAL_DIG, true);
}

size_t qdbg__format_digits(char out[QDBG__NUMBER_SIZE], double v, int digits)
{
    if (!isfinite(v))
        return put_nonfinite(out, v);
    char raw[QDBG__NUMBER_SIZE];
    decimal d;
    snprintf(raw, sizeof raw, "%.*e", digits - 1, v);
    parse(raw, &d);
    if (d.digits[0] == '0')
        d.negative = false;
    return put(out, &d);
}

size_t qdbg__format_fixed(char out[QDBG__NUMBER_SIZE], double v, int decimals)
{
    if (!isfinite(v))
        return put_nonfinite(out, v);
    if (fabs(v) >= 1e15)
        return qdbg__format_digits(out, v, 6);
    char raw[QDBG__NUMBER_SIZE];
    size_t n = 0, digits = 0;
    bool zero = true;
    snprintf(raw, sizeof raw, "%.*f", decimals, fabs(v));
    for (const char *p = raw; *p; p++) {
        digits += *p >= '0' && *p <= '9';
        zero = zero && (*p < '1' || *p > '9');
    }
    if (v < 0 && !zero)
        out[n++] = '-';
    for (const char *p = raw; *p; p++) {
        if (*p < '0' || *p > '9')
            continue;
        if (digits-- == (size_t)decimals && decimals > 0)
            out[n++] = '.';
        out[n++] = *p;
    }
    out[n] = 0;
    return n;
}

void qdbg__text_double(qdbg__text *text, double v)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__text_add_n(text, number, qdbg__format_double(number, v));
}

void qdbg__text_float(qdbg__text *text, float v)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__text_add_n(text, number, qdbg__format_float(number, v));
}

void qdbg__text_fixed(qdbg__text *text, double v, int decimals)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__text_add_n(text, number, qdbg__format_fixed(number, v, decimals));
}

void qdbg__text_digits(qdbg__text *text, double v, int digits)
{
    char number[QDBG__NUMBER_SIZE];
    qdbg__text_add_n(text, number, qdbg__format_digits(number, v, digits));
}
