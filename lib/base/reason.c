#include "reason.h"

#include <errno.h>
#include <stdio.h>

const char *qdbg__reason(int error, bool to_write, char text[QDBG__REASON_SIZE])
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return to_write ? "no such folder" : "no such file";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EROFS:
        return "the file system is read-only";
    case EISDIR:
        return "is a folder";
    case ENOSPC:
    case EDQUOT:
        return "no space left";
    case EFBIG:
        return "the file would be too large";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    case ENAMETOOLONG:
        return "the name is too long";
    case ELOOP:
        return "too many symbolic links";
    case EEXIST:
        return "too many temporary files beside it";
    case EIO:
        return "input/output error";
    default:
        snprintf(text, QDBG__REASON_SIZE, "system error %d", error);
        return text;
    }
}
