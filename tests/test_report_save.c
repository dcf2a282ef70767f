/* Saved reports: a file is replaced only by a whole one, and nothing is left behind. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_make.h"
#include "support.h"

/* A folder of its own, with the path of a file in it. */
typedef struct place {
    char folder[64], file[80];
} place;

static place place_make(void)
{
    place p = {.folder = "/tmp/qdebug-report-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    snprintf(p.file, sizeof p.file, "%s/report", p.folder);
    return p;
}

static size_t count_files(const place *p)
{
    size_t n = 0;
    DIR *folder = opendir(p->folder);
    assert_non_null(folder);
    for (struct dirent *e; (e = readdir(folder)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(folder);
    return n;
}

static void place_end(place *p)
{
    unlink(p->file);
    assert_int_equal(rmdir(p->folder), 0);
}

static void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void check_file(const char *path, const char *want)
{
    size_t size = strlen(want);
    char *got = malloc(size + 1);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(got, 1, size + 1, file), size);
    assert_memory_equal(got, want, size);
    fclose(file);
    free(got);
}

static void test_same_as_written(void **state)
{
    (void)state;
    for (int32_t format = 1; format <= N_FORMATS; format++) {
        world w = world_make(400);
        place p = place_make();
        struct stat st;
        char *want = world_report(&w, format, NULL);
        assert_ok(qdbg_report_save(w.ctx, w.diagnosis, format, &w.options, p.file));
        check_file(p.file, want);
        put_file(p.file, "old");
        assert_int_equal(chmod(p.file, 0640), 0);
        assert_ok(qdbg_report_save(w.ctx, w.diagnosis, format, &w.options, p.file));
        check_file(p.file, want);
        assert_int_equal(stat(p.file, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        assert_int_equal(count_files(&p), 1);
        free(want);
        place_end(&p);
        world_end(&w);
    }
}

/* A temporary file that somebody else holds is not touched. */
static void test_taken_name(void **state)
{
    world w = world_make(3);
    place p = place_make();
    char taken[96];
    (void)state;
    snprintf(taken, sizeof taken, "%s.0.tmp", p.file);
    put_file(taken, "mine");
    assert_ok(qdbg_report_save(w.ctx, w.diagnosis, QDBG_REPORT_JSON, &w.options, p.file));
    check_file(taken, "mine");
    assert_int_equal(count_files(&p), 2);
    unlink(taken);
    place_end(&p);
    world_end(&w);
}

static void test_no_folder(void **state)
{
    world w = world_make(3);
    (void)state;
    assert_fails(w.ctx,
                 qdbg_report_save(w.ctx, w.diagnosis, QDBG_REPORT_CSV, NULL, "/nowhere/at/all.csv"),
                 QDBG_E_IO, "no such folder: '/nowhere/at/all.csv'");
    assert_fails(w.ctx, qdbg_report_save(w.ctx, w.diagnosis, QDBG_REPORT_CSV, NULL, "/tmp"),
                 QDBG_E_IO, "is a folder: '/tmp'");
    world_end(&w);
}

static void test_folder_without_write_permission(void **state)
{
    world w = world_make(3);
    place p = place_make();
    (void)state;
    if (geteuid() == 0) {
        print_message("root may write everywhere: skipped\n");
    } else {
        assert_int_equal(chmod(p.folder, 0500), 0);
        assert_fails(w.ctx, qdbg_report_save(w.ctx, w.diagnosis, QDBG_REPORT_CSV, NULL, p.file),
                     QDBG_E_IO, "permission denied");
        assert_int_equal(chmod(p.folder, 0700), 0);
    }
    assert_int_equal(count_files(&p), 0);
    place_end(&p);
    world_end(&w);
}

/* The kernel refuses the write in the middle of the report. */
static void test_write_refused(void **state)
{
    world w = world_make(900);
    place p = place_make();
    struct rlimit old, low;
    (void)state;
    put_file(p.file, "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){100000, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    qdbg_status status = qdbg_report_save(w.ctx, w.diagnosis, QDBG_REPORT_HTML, NULL, p.file);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_fails(w.ctx, status, QDBG_E_IO, "too large");
    check_file(p.file, "old");
    assert_int_equal(count_files(&p), 1);
    place_end(&p);
    world_end(&w);
}

static void test_devices_stay(void **state)
{
    world w = world_make(3);
    struct stat st;
    (void)state;
    assert_ok(qdbg_report_save(w.ctx, w.diagnosis, QDBG_REPORT_TEXT, NULL, "/dev/null"));
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    if (access("/dev/full", W_OK) == 0)
        assert_fails(w.ctx, qdbg_report_save(w.ctx, w.diagnosis, 1, NULL, "/dev/full"), QDBG_E_IO,
                     "no space left");
    world_end(&w);
}

static void test_no_memory(void **state)
{
    world w = world_make(30);
    place p = place_make();
    qdbg_status status = QDBG_E_NOMEM;
    heap h;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 1);
    (void)state;
    put_file(p.file, "old");
    for (uint64_t k = 1; status != QDBG_OK; k++) {
        check_file(p.file, "old");
        heap_arm(&h, k, false);
        status = qdbg_report_save(ctx, w.diagnosis, QDBG_REPORT_HTML, &w.options, p.file);
        assert_int_equal(status, h.n_failed ? QDBG_E_NOMEM : QDBG_OK);
        assert_int_equal(h.n_live, 1);
        assert_int_equal(count_files(&p), 1);
    }
    heap_arm(&h, 0, false);
    heap_end(&h, ctx);
    place_end(&p);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_written),
        cmocka_unit_test(test_taken_name),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_folder_without_write_permission),
        cmocka_unit_test(test_write_refused),
        cmocka_unit_test(test_devices_stay),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
