/* The checks without a test framework, for machines that lack one (neon.sh).
 * usage: run_checks [LEVEL]: a QDBG_CPU_ level is run even where the machine does not offer it; so
 * does old_cpu.sh show that an emulated processor would refuse.
 * Exit status 1 when a kernel differs from the reference, 2 when there was nothing to compare. */
#include <stdio.h>
#include <stdlib.h>

#include "checks.h"

int main(int argc, char **argv)
{
    int32_t found[4];
    size_t n = levels(found);
    if (argc > 1) {
        found[0] = (int32_t)atoi(argv[1]);
        n = 1;
    }
    int failed = 0;
    for (size_t l = 0; l < n; l++) {
        const qdbg__kernels *kernels = qdbg__kernels_level(found[l]);
        for (size_t c = 0; c < n_checks; c++) {
            int bad = checks[c].run(kernels);
            printf("%s, %s: %s\n", kernels->name, checks[c].name, bad ? "FAILED" : "equal");
            fflush(stdout);
            failed |= bad > 0;
        }
    }
    return n == 0 ? 2 : failed;
}
