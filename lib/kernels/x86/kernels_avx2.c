/* The kernels for AVX2. */
#define TABLE qdbg__kernels_avx2
#define TABLE_NAME "avx2"
#include "../simd/table.h"
