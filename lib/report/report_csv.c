/* CSV as RFC 4180 has it: CRLF, quotes doubled inside quotes. The data is not altered, so a name
 * that begins like a spreadsheet formula (= + - @) stays what it is: it is quoted, and a program
 * that would run it must be told to read the column as text. A number that was not measured or is
 * not finite is an empty field. */
#include <math.h>
#include <string.h>

#include "report.h"

static void put_text(qdbg__text *t, const char *value)
{
    uint32_t c;
    bool quote = value[0] == 0 ? false : strpbrk(value, ",\"\r\n") || strchr("=+-@\t ", value[0]);
    if (quote)
        qdbg__text_add(t, "\"");
    while ((c = qdbg__utf8_next(&value)) != 0) {
        if (c == '"')
            qdbg__text_add(t, "\"");
        qdbg__text_code_point(t, c == QDBG__UTF8_BAD ? QDBG__REPLACEMENT : c);
    }
    if (quote)
        qdbg__text_add(t, "\"");
}

static void put_real(qdbg__text *t, double value)
{
    qdbg__text_add(t, ",");
    if (isfinite(value))
        qdbg__text_double(t, value);
}

static void put_float(qdbg__text *t, float value)
{
    qdbg__text_add(t, ",");
    if (isfinite(value))
        qdbg__text_float(t, value);
}

static void put_finding(qdbg__text *t, const qdbg_finding *f)
{
    put_text(t, f->name);
    qdbg__text_addf(t, ",%s,", qdbg__report_kind(f));
    put_text(t, f->node);
    qdbg__text_add(t, ",");
    put_text(t, f->op_type);
    qdbg__text_addf(t, ",%u,%u", f->bits, f->n_channels);
    put_float(t, f->scale);
    qdbg__text_addf(t, ",%d", f->zero_point);
    put_float(t, f->min);
    put_float(t, f->max);
    put_real(t, f->score_alone);
    put_real(t, f->drop_alone);
    put_real(t, f->output_sqnr_db);
    put_real(t, f->noise_share);
    put_real(t, f->local_sqnr_db);
    put_real(t, f->channel_spread);
    qdbg__text_addf(t, ",%s,", f->culprit ? "true" : "false");
    put_text(t, f->reason);
    qdbg__text_add(t, "\r\n");
}

void qdbg__report_csv(qdbg__report *r)
{
    qdbg_finding finding;
    qdbg__text_add(&r->text, "name,kind,node,op_type,bits,channels,scale,zero_point,min,max,"
                             "score_alone,drop_alone,output_sqnr_db,noise_share,local_sqnr_db,"
                             "channel_spread,culprit,reason\r\n");
    for (uint32_t i = 0; qdbg__report_finding(r, i, &finding); i++)
        put_finding(&r->text, &finding);
}
