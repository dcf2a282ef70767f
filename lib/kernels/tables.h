/* The tables of this build. */
#ifndef QDBG_KERNELS_TABLES_H
#define QDBG_KERNELS_TABLES_H

#include "kernels.h"

extern const qdbg__kernels qdbg__kernels_avx2;
extern const qdbg__kernels qdbg__kernels_avx512;
extern const qdbg__kernels qdbg__kernels_neon;

#endif
