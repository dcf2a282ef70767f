/* Analyses, diagnosis and reports without memory. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <unistd.h>

#include "../../lib/diagnose/diagnosis.h"
#include "oom.h"

/* ---- analyses ---- */

static void params_are_the_graphs(world *w)
{
    for (uint32_t v = 0; v < qdbg_graph_value_count(w->g); v++) {
        qdbg_view was = QDBG_VIEW_INIT;
        float now[64];
        if (qdbg_graph_parameter(w->g, v, &was) != QDBG_OK)
            continue;
        assert_true(qdbg_view_count(&was) <= 64);
        assert_ok(qdbg_model_get_parameter(w->m, v, now, qdbg_view_count(&was)));
        assert_memory_equal(now, was.data, (size_t)qdbg_view_count(&was) * sizeof *now);
    }
}

static qdbg_status fold(world *w)
{
    return qdbg_fold_batch_norms(w->m, &w->id);
}

static qdbg_status sensitivity(world *w)
{
    qdbg_sensitivity *s = UNTOUCHED;
    qdbg_status status = qdbg_sensitivity_run(w->sim, &w->s.set, &w->metric, &s);
    w->out = s;
    return status;
}

static void sensitivity_drop(world *w)
{
    qdbg_sensitivity_destroy(w->out);
}

static qdbg_status diagnose_by(world *w, const qdbg_rules *rules)
{
    qdbg_diagnose_options o = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_sim_options sim = QDBG_SIM_OPTIONS_INIT;
    o.calibration = o.evaluation = &w->s.set;
    o.metric = &w->metric;
    o.sim = &sim;
    sim.weight_bits = 3;
    sim.rules = rules;
    qdbg_diagnosis *d = UNTOUCHED;
    qdbg_status status = qdbg_diagnose(w->m, &o, &d);
    w->out = d;
    if (status == QDBG_OK) {
        qdbg_summary s = QDBG_SUMMARY_INIT;
        assert_ok(qdbg_diagnosis_summary(d, &s));
        w->hash = hash_of(s.conclusion, strlen(s.conclusion));
        w->score = s.quantized_score;
    }
    return status;
}

static qdbg_status diagnose(world *w)
{
    return diagnose_by(w, NULL);
}

/* The rules are found to be a preset, the fourth that is tried. */
static qdbg_status diagnose_tflite(world *w)
{
    qdbg_rules *rules = NULL;
    qdbg_status status = qdbg_rules_create(w->ctx, "tflite", &rules);
    w->out = UNTOUCHED;
    if (status == QDBG_OK)
        status = diagnose_by(w, rules);
    qdbg_rules_destroy(rules);
    return status;
}

static void diagnosis_drop(world *w)
{
    qdbg_diagnosis_destroy(w->out);
}

static void analyses(void **state)
{
    static const scenario all[] = {
        {"fold", with_builtin, fold, NULL, params_are_the_graphs, false},
        {"fold, host", with_host, fold, NULL, params_are_the_graphs, false},
        {"sensitivity", with_calibrated, sensitivity, sensitivity_drop, NULL, false},
        {"sensitivity, host", with_calibrated_host, sensitivity, sensitivity_drop, NULL, false},
        {"diagnose", with_builtin, diagnose, diagnosis_drop, params_are_the_graphs, false},
        {"diagnose, rules", with_builtin, diagnose_tflite, diagnosis_drop, params_are_the_graphs,
         false},
        {"diagnose, host", with_host, diagnose, diagnosis_drop, params_are_the_graphs, false},
    };
    (void)state;
    RUN_ALL(all);
}

/* ---- reports ---- */

static void with_diagnosis(world *w)
{
    with_builtin(w);
    reset_outs(w);
    assert_ok(diagnose(w));
    w->d = w->out;
}

static int32_t add_hash(void *user, const void *data, size_t size)
{
    uint64_t *hash = user;
    *hash = *hash * 31 + hash_of(data, size);
    return 0;
}

/* Names that are shortened so that they can be told apart. */
static void with_long_names(world *w)
{
    static const char *const names[] = {"/a/long/name/one/with/the/same/end/as/the/other",
                                        "/a/long/name/two/with/the/same/end/as/the/other"};
    with_diagnosis(w);
    for (size_t i = 0; i < 2; i++) {
        qdbg__strfree(w->ctx, (char *)w->d->findings[i].name);
        w->d->findings[i].name = qdbg__strdup(w->ctx, names[i]);
    }
}

static qdbg_status write_format(world *w, int32_t format)
{
    uint64_t hash = 1;
    qdbg_status status = qdbg_report_write(w->ctx, w->d, format, NULL, add_hash, &hash);
    if (status == QDBG_OK)
        w->hash = hash;
    return status;
}

static qdbg_status write_text(world *w)
{
    return write_format(w, QDBG_REPORT_TEXT);
}

static qdbg_status write_json(world *w)
{
    return write_format(w, QDBG_REPORT_JSON);
}

static qdbg_status write_csv(world *w)
{
    return write_format(w, QDBG_REPORT_CSV);
}

static qdbg_status write_html(world *w)
{
    return write_format(w, QDBG_REPORT_HTML);
}

static char report_path[64];

static qdbg_status save(world *w)
{
    return qdbg_report_save(w->ctx, w->d, QDBG_REPORT_CSV, NULL, report_path);
}

static void no_file_is_there(world *w)
{
    (void)w;
    FILE *file = fopen(report_path, "rb");
    assert_null(file);
}

static void file_drop(world *w)
{
    (void)w;
    remove(report_path);
}

static qdbg_status save_and_forget(world *w)
{
    qdbg_status status = save(w);
    w->out = status == QDBG_OK ? NULL : w->out; /* so that the file is dropped */
    return status;
}

static void reports(void **state)
{
    static const scenario all[] = {
        {"report, text", with_diagnosis, write_text, NULL, NULL, false},
        {"report, text, long names", with_long_names, write_text, NULL, NULL, false},
        {"report, JSON", with_diagnosis, write_json, NULL, NULL, false},
        {"report, CSV", with_diagnosis, write_csv, NULL, NULL, false},
        {"report, HTML", with_diagnosis, write_html, NULL, NULL, false},
        {"report_save", with_diagnosis, save_and_forget, file_drop, no_file_is_there, false},
    };
    char folder[] = "/tmp/qdebug-oom-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(report_path, sizeof report_path, "%s/report.csv", folder);
    RUN_ALL(all);
    assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(analyses),
        cmocka_unit_test(reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
