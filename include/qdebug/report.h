/**
 * @file report.h
 * A diagnosis as text, JSON, CSV and a self-contained HTML page.
 *
 * The same diagnosis gives the same bytes, in every locale. Times are the host's business: a caller
 * that measured the steps may pass them in.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_REPORT_H
#define QDEBUG_REPORT_H

#include <qdebug/diagnose.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QDBG_REPORT_TEXT 1 /**< plain UTF-8 text for a terminal, 80 columns where names allow */
#define QDBG_REPORT_JSON 2 /**< one object; see below */
#define QDBG_REPORT_CSV 3  /**< RFC 4180: a header line, then a quantizer a line, worst first */
#define QDBG_REPORT_HTML 4 /**< one file that opens offline and prints well */

/** Version of the JSON layout ("schema_version"); grows when a field is added or changes. */
#define QDBG_REPORT_SCHEMA_VERSION 1

/** What the diagnosis cannot know itself; a zero field means "leave it out". */
typedef struct qdbg_report_options {
    uint32_t struct_size;  /**< sizeof(qdbg_report_options) */
    uint32_t n_seconds;    /**< number of `seconds`: the diagnosis's steps, or 0 */
    const char *model;     /**< the model's name, such as its file name */
    const double *seconds; /**< [n_seconds] wall time of each step in order; NULL = none */
    uint32_t text_rows;    /**< quantizers shown by QDBG_REPORT_TEXT; 0 = 10 */
    uint32_t reserved;
} qdbg_report_options;

#define QDBG_REPORT_OPTIONS_INIT                             \
    {                                                        \
        (uint32_t)sizeof(qdbg_report_options), 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_REPORT_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_report_options_init(qdbg_report_options *options);

/** Receives the report piece by piece. Return 0, or anything else to end with QDBG_E_CALLBACK. */
typedef int32_t (*qdbg_write_fn)(void *user, const void *data, size_t size);

/**
 * Write a report through a callback.
 *
 * JSON: "schema_version", "library_version", "model", "samples", "calibration_samples", "metric",
 * "float_score", "quantized_score", "max_drop", "weight_bits", "activation_bits", "per_channel",
 * "rounding", "weight_range", "activation_range", "rules", "int32_biases" (their number),
 * "batch_norms_folded", "conclusion", "steps": ["name", "title", "outcome", "verdict",
 * "recommendation", "score", "drop", "half_width", "output_sqnr_db", "seconds"], "quantizers":
 * ["name", "kind" ("weight", "activation" or "bias"), "node", "op_type", "bits", "channels",
 * "scale", "zero_point", "min", "max", "score_alone", "drop_alone", "output_sqnr_db",
 * "noise_share", "local_sqnr_db", "channel_spread", "culprit", "reason"], most harmful first. A
 * number that was not measured or is not finite is null.
 *
 * @param ctx      gets the error's details and pays for the memory
 * @param format   QDBG_REPORT_
 * @param options  NULL = nothing known
 * @return QDBG_OK; QDBG_E_INVALID (NULL, format, struct_size, n_seconds differs from the number of
 *         steps); QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_report_write(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis,
                                       int32_t format, const qdbg_report_options *options,
                                       qdbg_write_fn write, void *user);

/**
 * Write a report to a file, which is replaced only when all of it could be written. A device, a
 * pipe or a symbolic link is written to as it is.
 * @return as qdbg_report_write(); QDBG_E_IO (names the file)
 */
QDBG_API qdbg_status qdbg_report_save(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis,
                                      int32_t format, const qdbg_report_options *options,
                                      const char *path);

#ifdef __cplusplus
}
#endif

#endif
