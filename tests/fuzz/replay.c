/* main() for a fuzz target where libFuzzer is not: runs every file of the folders (or the files)
 * that it is given through the target once, and says how many. A folder without files is an error:
 * a corpus that has gone missing must not look like a pass. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Runs the target over a copy of exactly the file's size, so that a checker of memory sees a read
 * beyond it. */
static int run_file(const char *path)
{
    int result = -1;
    uint8_t *data = NULL;
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        goto out;
    long size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0)
        goto out;
    data = malloc((size_t)size + (size == 0));
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size)
        goto out;
    LLVMFuzzerTestOneInput(data, (size_t)size);
    result = 1;
out:
    if (result < 0)
        fprintf(stderr, "cannot read %s\n", path);
    free(data);
    if (file)
        fclose(file);
    return result;
}

/* Number of files run, or -1. */
static int run_folder(DIR *dir, const char *path)
{
    char below[4096];
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        int length = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof below || run_file(below) < 0)
            return -1;
        n++;
    }
    return n;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        int n = dir ? run_folder(dir, argv[i]) : run_file(argv[i]);
        if (dir)
            closedir(dir);
        if (n <= 0) {
            fprintf(stderr, "%s: nothing to run\n", argv[i]);
            return 1;
        }
        total += n;
    }
    printf("%d files\n", total);
    return total > 0 ? 0 : 1;
}
