#define _DEFAULT_SOURCE

#include "console.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define MAX_BAR 40

static struct {
    bool quiet;
    bool terminal;
    char stage[32]; /* "" when none is under way */
    bool open;      /* its line is not ended */
    double started;
    double drawn;
} console;

void console_init(bool quiet)
{
    const char *term = getenv("TERM");
    memset(&console, 0, sizeof console);
    console.quiet = quiet;
    console.terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

double console_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* C0, DEL and the UTF-8 form of C1: what could move the cursor or end the line. */
static void replace_controls(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < ' ' || *p == 127 || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f))
            *p = '?';
    }
}

static void say(const char *kind, const char *fmt, va_list args)
{
    char text[2048];
    vsnprintf(text, sizeof text, fmt, args);
    replace_controls(text);
    if (console.open)
        fputs(console.terminal ? "\r\033[K" : "\n", stderr);
    console.open = false;
    fprintf(stderr, "qdebug-diagnose: %s%s\n", kind, text);
}

void console_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say("", fmt, args);
    va_end(args);
}

void console_warning(const char *fmt, ...)
{
    if (console.quiet)
        return;
    va_list args;
    va_start(args, fmt);
    say("warning: ", fmt, args);
    va_end(args);
}

void console_failure(const char *file, const char *message)
{
    if (strstr(message, file))
        console_error("%s", message);
    else
        console_error("%s: %s", file, message);
}

static int columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

static void draw_bar(uint64_t done, uint64_t total, double elapsed)
{
    const int room = columns() - 36;
    const int width = room < 0 ? 0 : room > MAX_BAR ? MAX_BAR : room;
    const double share = total > 0 && done <= total ? (double)done / (double)total : 0;
    char bar[MAX_BAR + 1] = "";
    memset(bar, '.', (size_t)width);
    memset(bar, '#', (size_t)(share * width));
    fprintf(stderr, "\r\033[K%-12s [%s] %3d%%", console.stage, bar, (int)(share * 100));
    if (share > 0) {
        const unsigned long left = (unsigned long)(elapsed / share * (1 - share) + 0.5);
        fprintf(stderr, "  ETA %lu:%02lu", left / 60, left % 60);
    }
    fflush(stderr);
}

static void open_line(void)
{
    if (!console.terminal)
        fprintf(stderr, "%-12s ...", console.stage);
    console.open = true;
}

void console_progress(const char *stage, uint64_t done, uint64_t total)
{
    if (console.quiet)
        return;
    const double now = console_now();
    if (strcmp(stage, console.stage) != 0) {
        console_end_stage();
        snprintf(console.stage, sizeof console.stage, "%s", stage);
        console.started = now;
        console.drawn = now - REDRAW_SECONDS;
    }
    if (!console.open)
        open_line();
    if (console.terminal && now - console.drawn >= REDRAW_SECONDS) {
        console.drawn = now;
        draw_bar(done, total, now - console.started);
    }
}

void console_end_stage(void)
{
    if (!console.stage[0])
        return;
    if (!console.open)
        open_line();
    if (console.terminal)
        fprintf(stderr, "\r\033[K%-12s ...", console.stage);
    fprintf(stderr, " %.1f s\n", console_now() - console.started);
    console.stage[0] = 0;
    console.open = false;
}
