/* The kernels for AVX-512. */
#define TABLE qdbg__kernels_avx512
#define TABLE_NAME "avx512"
#include "../simd/table.h"
