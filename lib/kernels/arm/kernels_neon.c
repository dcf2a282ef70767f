/* The kernels for NEON. */
#define TABLE qdbg__kernels_neon
#define TABLE_NAME "neon"
#include "../simd/table.h"
