/* qdebug-diagnose: why does this network lose accuracy when it is quantized?
 *
 * A complete host of libqdebug, and an example of one: it uses the public headers only. `--help`
 * tells the command line (options.c); samples.c brings arrays on disk into the model's layout. */
#define _GNU_SOURCE

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>

#include "console.h"
#include "listing.h"
#include "options.h"
#include "outputs.h"
#include "samples.h"

enum { EXIT_DIAGNOSED = 0, EXIT_BROKEN = 1, EXIT_WRONG = 2, EXIT_INTERRUPTED = 130 };

/* ---- interrupts ---- */

static _Atomic(qdbg_ctx *) interrupt_ctx;

/* The first interrupt asks the library to end; the second finds the default action and kills. */
static void on_interrupt(int number)
{
    (void)number;
    qdbg_cancel(atomic_load(&interrupt_ctx));
}

static void watch_interrupts(qdbg_ctx *ctx)
{
    struct sigaction old, action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigemptyset(&action.sa_mask);
    atomic_store(&interrupt_ctx, ctx);
    /* A shell that starts a job in the background has it ignore interrupts: so it stays. */
    if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
}

/* ---- progress: shown, and timed step by step ---- */

typedef struct stopwatch {
    double seconds[8]; /* by position in STEPS */
    double started;    /* when the program was */
    double last;       /* when the last progress came */
} stopwatch;

/* The diagnosis's steps with the stage of progress that belongs to each. */
static const struct {
    const char *stage;
    const char *step;
} STEPS[] = {
    {"float32", "float32"}, {"calibrate", "quantized"},     {"quantized", "quantized"},
    {"weights", "weights"}, {"activations", "activations"}, {"quantizers", "quantizers"},
    {"", "conclusion"},
};
#define N_STEPS (sizeof STEPS / sizeof STEPS[0])

/* Progress is reported when work is done, so the time since the last report is this stage's. */
static void lap(stopwatch *watch, const char *stage)
{
    const double now = console_now();
    for (size_t i = 0; i < N_STEPS; i++) {
        if (strcmp(stage, STEPS[i].stage) == 0)
            watch->seconds[i] += now - watch->last;
    }
    watch->last = now;
}

static int32_t on_progress(void *user, const qdbg_progress *progress)
{
    lap(user, progress->stage);
    console_progress(progress->stage, progress->done, progress->total);
    return 0;
}

static void on_log(void *user, int32_t level, const char *message)
{
    (void)user;
    /* Errors come back as the call's status. */
    if (level == QDBG_LOG_WARNING)
        console_warning("%s", message);
}

/* The seconds of the diagnosis's steps, in their order; the caller frees them. */
static double *step_seconds(const qdbg_diagnosis *diagnosis, const stopwatch *watch, uint32_t n)
{
    double *seconds = calloc(n ? n : 1, sizeof *seconds);
    for (uint32_t i = 0; seconds && i < n; i++) {
        qdbg_step step = QDBG_STEP_INIT;
        if (qdbg_diagnosis_step(diagnosis, i, &step) != QDBG_OK)
            continue;
        for (size_t k = 0; k < N_STEPS; k++) {
            if (strcmp(step.name, STEPS[k].step) == 0)
                seconds[i] += watch->seconds[k];
        }
    }
    return seconds;
}

/* ---- the run ---- */

/* Everything that main() frees in the end. */
typedef struct run {
    options options;
    stopwatch watch;
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    qdbg_model *model;
    qdbg_rules *rules; /* NULL: none are given */
    samples inputs;
    samples calibration;
    qdbg_diagnosis *diagnosis;
} run;

/* Tell why a call failed; `subject` is the file it was about. */
static int explain(const run *r, qdbg_status status, const char *subject)
{
    const char *message = qdbg_ctx_error_message(r->ctx);
    if (status == QDBG_E_CANCELLED) {
        console_error("interrupted");
        return EXIT_INTERRUPTED;
    }
    /* Our callbacks have said what was wrong with their file. */
    if (status != QDBG_E_CALLBACK)
        console_failure(subject, *message ? message : qdbg_status_name(status));
    if (status == QDBG_E_NOMEM || status == QDBG_E_LIMIT || status == QDBG_E_THREAD)
        return EXIT_BROKEN;
    return EXIT_WRONG;
}

static int create_context(run *r)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    o.threads = r->options.threads;
    o.log = on_log;
    o.progress = on_progress;
    o.progress_user = &r->watch;
    const qdbg_status status = qdbg_ctx_create(&o, &r->ctx);
    if (status != QDBG_OK) {
        console_error("cannot start: %s", qdbg_status_name(status));
        return EXIT_BROKEN;
    }
    watch_interrupts(r->ctx);
    return EXIT_DIAGNOSED;
}

static int load_model(run *r)
{
    const char *path = r->options.model;
    qdbg_status status = qdbg_onnx_load_file(r->ctx, path, &r->graph);
    if (status == QDBG_OK)
        status = qdbg_model_create(r->graph, &r->model);
    return status == QDBG_OK ? EXIT_DIAGNOSED : explain(r, status, path);
}

static int load_rules(run *r)
{
    const char *name = r->options.rules;
    if (!name)
        return EXIT_DIAGNOSED;
    const size_t n = strlen(name);
    const bool is_file = n >= 5 && strcmp(name + n - 5, ".json") == 0;
    const qdbg_status status = is_file ? qdbg_rules_load_file(r->ctx, name, &r->rules)
                                       : qdbg_rules_create(r->ctx, name, &r->rules);
    return status == QDBG_OK ? EXIT_DIAGNOSED : explain(r, status, is_file ? name : "--rules");
}

static void set_target(const run *r, qdbg_sim_options *sim)
{
    const options *o = &r->options;
    sim->weight_bits = o->weight_bits;
    sim->activation_bits = o->activation_bits;
    sim->weight_granularity = o->per_channel ? QDBG_PER_CHANNEL : QDBG_PER_TENSOR;
    sim->weight_range = &o->weight_range;
    sim->activation_range = &o->activation_range;
    sim->rules = r->rules;
}

static int list_quantizers(run *r)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim = NULL;
    set_target(r, &o);
    const qdbg_status status = qdbg_sim_create(r->model, &o, &sim);
    if (status != QDBG_OK)
        return explain(r, status, r->options.model);
    const bool ok = listing_print(r->ctx, sim, r->graph);
    qdbg_sim_destroy(sim);
    return ok ? EXIT_DIAGNOSED : EXIT_WRONG;
}

static int open_data(run *r)
{
    const options *o = &r->options;
    const uint32_t threads = qdbg_ctx_threads(r->ctx);
    if (!samples_open(&r->inputs, r->graph, &o->inputs, o, o->limit, threads))
        return EXIT_WRONG;
    if (o->labels && !samples_label(&r->inputs, r->graph, o->labels))
        return EXIT_WRONG;
    const bool own = o->calibration.n > 0;
    const uint64_t step = r->inputs.step, runs = (DEFAULT_CALIBRATION + step - 1) / step;
    const uint64_t n = r->inputs.n < runs * step ? r->inputs.n : runs * step;
    if (!samples_open(&r->calibration, r->graph, own ? &o->calibration : &o->inputs, o, own ? 0 : n,
                      threads))
        return EXIT_WRONG;
    return samples_check(&r->inputs) && samples_check(&r->calibration) ? EXIT_DIAGNOSED
                                                                       : EXIT_WRONG;
}

static int diagnose(run *r)
{
    const options *o = &r->options;
    qdbg_dataset calibration, evaluation;
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_diagnose_options d = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_sim_options sim = QDBG_SIM_OPTIONS_INIT;
    samples_dataset(&r->calibration, &calibration);
    samples_dataset(&r->inputs, &evaluation);
    metric.kind = o->labels ? QDBG_METRIC_TOP1 : QDBG_METRIC_AGREEMENT;
    d.calibration = &calibration;
    d.evaluation = &evaluation;
    d.metric = &metric;
    d.max_drop = o->max_drop;
    d.sim = &sim;
    set_target(r, &sim);

    r->watch.last = console_now();
    const qdbg_status status = qdbg_diagnose(r->model, &d, &r->diagnosis);
    if (status != QDBG_OK)
        return explain(r, status, o->model);
    lap(&r->watch, "");
    console_end_stage();
    return EXIT_DIAGNOSED;
}

/* Linux counts in KiB, the BSDs likewise, macOS in bytes. */
static double peak_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (double)usage.ru_maxrss / (1024.0 * 1024.0);
#else
    return (double)usage.ru_maxrss / 1024.0;
#endif
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static int report(run *r)
{
    const options *o = &r->options;
    qdbg_summary summary = QDBG_SUMMARY_INIT;
    qdbg_report_options about = QDBG_REPORT_OPTIONS_INIT;
    qdbg_status status = qdbg_diagnosis_summary(r->diagnosis, &summary);
    if (status != QDBG_OK)
        return explain(r, status, o->model);
    double *seconds = step_seconds(r->diagnosis, &r->watch, summary.n_steps);
    if (!seconds) {
        console_error("out of memory");
        return EXIT_BROKEN;
    }
    about.model = base_name(o->model);
    about.seconds = seconds;
    about.n_seconds = summary.n_steps;

    bool ok = outputs_save(o, r->ctx, r->diagnosis, &about);
    if (ok && !o->quiet)
        ok = outputs_print(r->ctx, r->diagnosis, &about, console_now() - r->watch.started,
                           peak_mib());
    free(seconds);
    return ok ? EXIT_DIAGNOSED : EXIT_WRONG;
}

static int work(run *r)
{
    int code = create_context(r);
    if (code == EXIT_DIAGNOSED)
        code = load_model(r);
    if (code == EXIT_DIAGNOSED)
        code = load_rules(r);
    if (code == EXIT_DIAGNOSED && r->options.list)
        return list_quantizers(r);
    if (code == EXIT_DIAGNOSED)
        code = open_data(r);
    if (code == EXIT_DIAGNOSED)
        code = diagnose(r);
    if (code == EXIT_DIAGNOSED)
        code = report(r);
    return code;
}

int main(int argc, char **argv)
{
    run r = {0};
    int code = EXIT_WRONG;
    console_init(false);
    r.watch.started = console_now();
    const options_result parsed = options_parse(argc, argv, &r.options);
    console_init(r.options.quiet);
    if (parsed == OPTIONS_DONE)
        code = fflush(stdout) == 0 ? EXIT_DIAGNOSED : EXIT_BROKEN;
    else if (parsed == OPTIONS_RUN && outputs_check(&r.options))
        code = work(&r);

    qdbg_diagnosis_destroy(r.diagnosis);
    samples_close(&r.calibration);
    samples_close(&r.inputs);
    qdbg_rules_destroy(r.rules);
    qdbg_model_destroy(r.model);
    qdbg_graph_destroy(r.graph);
    atomic_store(&interrupt_ctx, NULL);
    qdbg_ctx_destroy(r.ctx);
    options_free(&r.options);
    return code;
}
