#include <qdebug/base.h>

#define STRINGIFY(x) #x
#define VERSION_TEXT(a, b, c) STRINGIFY(a) "." STRINGIFY(b) "." STRINGIFY(c)

uint32_t qdbg_version(void)
{
    return QDBG_VERSION_MAJOR * 1000000u + QDBG_VERSION_MINOR * 1000u + QDBG_VERSION_PATCH;
}

const char *qdbg_version_string(void)
{
    return VERSION_TEXT(QDBG_VERSION_MAJOR, QDBG_VERSION_MINOR, QDBG_VERSION_PATCH);
}

const char *qdbg_status_name(qdbg_status status)
{
    static const char *const names[] = {
        "OK",   "INVALID", "NOMEM", "LIMIT",     "CALLBACK", "CANCELLED", "UNSUPPORTED", "SHAPE",
        "TYPE", "FORMAT",  "IO",    "NOT_FOUND", "STATE",    "HOST",      "NUMERIC",     "THREAD",
    };
    if (status > 0 || status <= -(int32_t)(sizeof names / sizeof *names))
        return "UNKNOWN";
    return names[-status];
}
