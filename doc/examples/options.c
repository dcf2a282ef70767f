#define _GNU_SOURCE

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qdebug/qdebug.h>

#include "console.h"
#include "samples.h"

#define MAX_LIMIT 1000000000000

static const char HELP[] =
    "usage: qdebug-diagnose MODEL.onnx --inputs X.npy [option ...]\n"
    "\n"
    "Finds out where a float32 network loses accuracy when it is quantized.\n"
    "\n"
    "Data (.npy files: numbers of any type, little-endian, C order)\n"
    "  --inputs X.npy       samples to score with, [N, ...]\n"
    "  --labels Y.npy       their classes, N integers: the score is top-1. Without it\n"
    "                       the score is the share of samples where the quantized\n"
    "                       model chooses as float32 does\n"
    "  --calibration C.npy  samples that set the activation ranges; without it the\n"
    "                       first %d of the samples scored\n"
    "  --limit N            use the first N samples of --inputs only\n"
    "  --nhwc               arrays of four dimensions are [N,H,W,C], not [N,C,H,W]\n"
    "  --mean a,b,..        a sample becomes (x - mean) / std in float32, in the\n"
    "  --std a,b,..         array's own units: one value, or one for each channel\n"
    "                       (default: 0 and 1)\n"
    "  A model with several inputs: repeat --inputs (and --calibration) in the order\n"
    "  of the graph. The first --mean and --std belong to the first input, and so on.\n"
    "  Dimensions of 1 may be missing in an array, and neighbouring dimensions may be\n"
    "  merged or split: [N,490] and [N,49,10] both fit a model's input [N,1,49,10].\n"
    "\n"
    "Target\n"
    "  --weights B          bits of weights: 2 to 16, or 32 for float32 (default: 8)\n"
    "  --activations B      bits of activations, likewise\n"
    "  --per-channel        a scale for each output channel of a weight\n"
    "  --weight-range M     how ranges are chosen: min-max (default), percentile,\n"
    "  --activation-range M mse, sqnr, entropy; of activations also moving-average,\n"
    "                       batch-norm. percentile=99.9 says which (default: 99.99)\n"
    "  --max-drop D         score that may be lost (default: 0.01)\n"
    "  --rules R            where quantizers sit and what they are like: default,\n"
    "                       per_channel, onnxruntime, tflite, or a configuration file\n"
    "                       of AIMET's whose name ends in .json\n"
    "  --list-quantizers    list them, and why a value has none, and do no more:\n"
    "                       needs no --inputs\n"
    "\n"
    "Output (a text report goes to standard output)\n"
    "  --html F, --json F, --csv F\n"
    "                       write the report to a file as well\n"
    "  --quiet              no text report and no progress: only files and errors\n"
    "\n"
    "Other\n"
    "  --threads N          threads to compute with (default: the machine's cores)\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 after a diagnosis, whatever it found; 2 for wrong arguments or\n"
    "files; 1 when something else failed; 130 when interrupted.\n";

enum {
    OPT_INPUTS = 256,
    OPT_LABELS,
    OPT_CALIBRATION,
    OPT_LIMIT,
    OPT_NHWC,
    OPT_MEAN,
    OPT_STD,
    OPT_WEIGHTS,
    OPT_ACTIVATIONS,
    OPT_PER_CHANNEL,
    OPT_WEIGHT_RANGE,
    OPT_ACTIVATION_RANGE,
    OPT_MAX_DROP,
    OPT_RULES,
    OPT_LIST,
    OPT_HTML,
    OPT_JSON,
    OPT_CSV,
    OPT_QUIET,
    OPT_THREADS,
    OPT_HELP,
    OPT_VERSION
};

static const struct option LONG[] = {
    {"inputs", required_argument, NULL, OPT_INPUTS},
    {"labels", required_argument, NULL, OPT_LABELS},
    {"calibration", required_argument, NULL, OPT_CALIBRATION},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"nhwc", no_argument, NULL, OPT_NHWC},
    {"mean", required_argument, NULL, OPT_MEAN},
    {"std", required_argument, NULL, OPT_STD},
    {"weights", required_argument, NULL, OPT_WEIGHTS},
    {"activations", required_argument, NULL, OPT_ACTIVATIONS},
    {"per-channel", no_argument, NULL, OPT_PER_CHANNEL},
    {"weight-range", required_argument, NULL, OPT_WEIGHT_RANGE},
    {"activation-range", required_argument, NULL, OPT_ACTIVATION_RANGE},
    {"max-drop", required_argument, NULL, OPT_MAX_DROP},
    {"rules", required_argument, NULL, OPT_RULES},
    {"list-quantizers", no_argument, NULL, OPT_LIST},
    {"html", required_argument, NULL, OPT_HTML},
    {"json", required_argument, NULL, OPT_JSON},
    {"csv", required_argument, NULL, OPT_CSV},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* ---- values ---- */

/* A whole number without sign, blanks or anything behind it. */
static bool read_count(const char *name, const char *text, uint64_t low, uint64_t high,
                       uint64_t *out)
{
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && v <= high; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (p == text || *p || v < low || v > high) {
        console_error("%s: '%s' is not a whole number from %llu to %llu", name, text,
                      (unsigned long long)low, (unsigned long long)high);
        return false;
    }
    *out = v;
    return true;
}

static bool read_bits(const char *name, const char *text, uint32_t *out)
{
    char *end;
    const unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || !((v >= 2 && v <= 16) || v == QDBG_BITS_BYPASS)) {
        console_error("%s: '%s' is not 2 to 16 or 32", name, text);
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

/* A decimal number that float32 can hold; `*end` is where it stops. */
static bool read_number(const char *text, const char **end, double *out)
{
    char *stop;
    /* strtod would also take blanks, "nan", "inf" and hexadecimal. */
    const size_t n = strspn(text, "+-.0123456789eE");
    *out = strtod(text, &stop);
    *end = stop;
    return n > 0 && stop == text + n && isfinite((float)*out);
}

static bool read_drop(const char *text, double *out)
{
    const char *end;
    double v;
    if (!read_number(text, &end, &v) || *end || !(v > 0)) {
        console_error("--max-drop: '%s' is not a number above 0", text);
        return false;
    }
    *out = v;
    return true;
}

/* Range methods by their words; the first WEIGHT_METHODS are for weights as well. */
static const struct {
    const char *word;
    int32_t method;
} METHODS[] = {
    {"min-max", QDBG_RANGE_MIN_MAX},
    {"percentile", QDBG_RANGE_PERCENTILE},
    {"mse", QDBG_RANGE_MSE},
    {"sqnr", QDBG_RANGE_SQNR},
    {"entropy", QDBG_RANGE_ENTROPY},
    {"moving-average", QDBG_RANGE_MOVING_AVERAGE},
    {"batch-norm", QDBG_RANGE_BATCH_NORM},
};
#define N_METHODS (sizeof METHODS / sizeof METHODS[0])
#define WEIGHT_METHODS 5

static bool read_range(const char *name, const char *text, size_t n_methods,
                       qdbg_range_options *out)
{
    static const char percentile[] = "percentile=";
    const size_t prefix = sizeof percentile - 1;
    const char *end;
    if (strncmp(text, percentile, prefix) == 0) {
        if (!read_number(text + prefix, &end, &out->percentile) || *end ||
            !(out->percentile > 50 && out->percentile <= 100)) {
            console_error("%s: '%s' is not above 50, up to 100", name, text + prefix);
            return false;
        }
        out->method = QDBG_RANGE_PERCENTILE;
        return true;
    }
    for (size_t i = 0; i < n_methods; i++) {
        if (strcmp(text, METHODS[i].word) == 0) {
            out->method = METHODS[i].method;
            return true;
        }
    }
    console_error("%s: '%s' is no method for these; try --help", name, text);
    return false;
}

/* Numbers between commas, appended as the next list. */
static bool read_list(const char *name, const char *text, bool positive, float_list *lists,
                      uint32_t *n_lists)
{
    size_t capacity = 1;
    if (*n_lists == MAX_INPUTS) {
        console_error("%s: given more than %d times", name, MAX_INPUTS);
        return false;
    }
    for (const char *p = text; *p; p++)
        capacity += *p == ',';
    float_list *list = &lists[*n_lists];
    list->values = calloc(capacity, sizeof *list->values);
    if (!list->values) {
        console_error("out of memory");
        return false;
    }
    *n_lists += 1;
    for (const char *p = text;; p++) {
        double v;
        if (!read_number(p, &p, &v) || (*p && *p != ',') || (positive && !((float)v > 0))) {
            console_error("%s: '%s' is not a list of %snumbers such as 0.5,1.5", name, text,
                          positive ? "positive " : "");
            return false;
        }
        list->values[list->n++] = (float)v;
        if (!*p)
            return true;
    }
}

static bool add_path(const char *name, const char *path, path_list *list)
{
    if (list->n == MAX_INPUTS) {
        console_error("%s: given more than %d times", name, MAX_INPUTS);
        return false;
    }
    list->paths[list->n++] = path;
    return true;
}

static bool set_output(const char *name, const char *path, const char **out)
{
    if (!*path) {
        console_error("%s: the file's name is empty", name);
        return false;
    }
    *out = path;
    return true;
}

/* ---- the line ---- */

static bool set_option(options *o, int option, const char *text)
{
    uint64_t count = 0;
    switch (option) {
    case OPT_INPUTS:
        return add_path("--inputs", text, &o->inputs);
    case OPT_CALIBRATION:
        return add_path("--calibration", text, &o->calibration);
    case OPT_LIMIT:
        return read_count("--limit", text, 1, MAX_LIMIT, &o->limit);
    case OPT_MEAN:
        return read_list("--mean", text, false, o->mean, &o->n_mean);
    case OPT_STD:
        return read_list("--std", text, true, o->std, &o->n_std);
    case OPT_WEIGHTS:
        return read_bits("--weights", text, &o->weight_bits);
    case OPT_ACTIVATIONS:
        return read_bits("--activations", text, &o->activation_bits);
    case OPT_WEIGHT_RANGE:
        return read_range("--weight-range", text, WEIGHT_METHODS, &o->weight_range);
    case OPT_ACTIVATION_RANGE:
        return read_range("--activation-range", text, N_METHODS, &o->activation_range);
    case OPT_MAX_DROP:
        return read_drop(text, &o->max_drop);
    case OPT_THREADS:
        if (!read_count("--threads", text, 1, 1024, &count))
            return false;
        o->threads = (uint32_t)count;
        return true;
    case OPT_LABELS:
        o->labels = text;
        return true;
    case OPT_RULES:
        o->rules = text;
        return true;
    case OPT_LIST:
        o->list = true;
        return true;
    case OPT_HTML:
        return set_output("--html", text, &o->html);
    case OPT_JSON:
        return set_output("--json", text, &o->json);
    case OPT_CSV:
        return set_output("--csv", text, &o->csv);
    case OPT_NHWC:
        o->nhwc = true;
        return true;
    case OPT_PER_CHANNEL:
        o->per_channel = true;
        return true;
    default:
        o->quiet = true;
        return true;
    }
}

static bool check(const options *o, int argc, char **argv)
{
    if (optind == argc) {
        console_error("no model given; try --help");
        return false;
    }
    if (optind + 1 < argc) {
        console_error("'%s': one model only; try --help", argv[optind + 1]);
        return false;
    }
    if (o->inputs.n == 0 && !o->list) {
        console_error("--inputs is missing; try --help");
        return false;
    }
    if (o->calibration.n > 0 && o->calibration.n != o->inputs.n) {
        console_error("--calibration must be given as often as --inputs");
        return false;
    }
    if (o->n_mean > o->inputs.n || o->n_std > o->inputs.n) {
        console_error("--%s is given more often than --inputs",
                      o->n_mean > o->inputs.n ? "mean" : "std");
        return false;
    }
    return true;
}

/* getopt_long() found an option that is none of ours, or one with a value that takes none. */
static options_result complain(char **argv)
{
    if (optopt >= OPT_INPUTS)
        console_error("'%s': the option takes no value; try --help", argv[optind - 1]);
    else if (optopt)
        console_error("unknown option '-%c'; try --help", optopt);
    else
        console_error("unknown option '%s'; try --help", argv[optind - 1]);
    return OPTIONS_WRONG;
}

options_result options_parse(int argc, char **argv, options *o)
{
    memset(o, 0, sizeof *o);
    o->weight_bits = o->activation_bits = 8;
    o->max_drop = 0.01;
    qdbg_range_options_init(&o->weight_range);
    qdbg_range_options_init(&o->activation_range);
    opterr = 0;
    for (;;) {
        const int option = getopt_long(argc, argv, ":", LONG, NULL);
        if (option == -1)
            break;
        if (option == OPT_HELP) {
            printf(HELP, DEFAULT_CALIBRATION);
            return OPTIONS_DONE;
        }
        if (option == OPT_VERSION) {
            printf("qdebug-diagnose %s\n", qdbg_version_string());
            return OPTIONS_DONE;
        }
        if (option == ':') {
            console_error("%s needs a value; try --help", argv[optind - 1]);
            return OPTIONS_WRONG;
        }
        if (option == '?')
            return complain(argv);
        if (!set_option(o, option, optarg))
            return OPTIONS_WRONG;
    }
    if (!check(o, argc, argv))
        return OPTIONS_WRONG;
    o->model = argv[optind];
    return OPTIONS_RUN;
}

void options_free(options *o)
{
    for (uint32_t i = 0; i < MAX_INPUTS; i++) {
        free(o->mean[i].values);
        free(o->std[i].values);
    }
}
