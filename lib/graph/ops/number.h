/* Single elements of any type, for operators whose speed does not depend on it. */
#ifndef QDBG_GRAPH_OPS_NUMBER_H
#define QDBG_GRAPH_OPS_NUMBER_H

#include "../op.h"

/* Element `i` as a double (unsigned and signed 64-bit integers are rounded). */
double qdbg__load_double(const void *data, int32_t dtype, int64_t i);

/* Element `i` of an integer or bool tensor; uint64 wraps. */
int64_t qdbg__load_int(const void *data, int32_t dtype, int64_t i);

/* Store with truncation towards zero and saturation; NaN becomes 0 in integers. */
void qdbg__store_double(void *data, int32_t dtype, int64_t i, double value);

/* Store in an integer or bool tensor; wraps. */
void qdbg__store_int(void *data, int32_t dtype, int64_t i, int64_t value);

/* Element `i` of int32 or int64 indices, brought into 0..size-1; false when out of range. */
bool qdbg__read_index(const qdbg_view *indices, int64_t i, int64_t size, int64_t *index);

bool qdbg__is_int(int32_t dtype); /* any integer, not bool */
bool qdbg__is_signed(int32_t dtype);
bool qdbg__is_float(int32_t dtype); /* float16 and bfloat16 included */

/* Truncate to an integer, saturating; NaN gives 0. */
int64_t qdbg__double_to_i64(double value);
uint64_t qdbg__double_to_u64(double value);

float qdbg__half_to_float(uint16_t bits);
uint16_t qdbg__float_to_half(float value); /* nearest even */
float qdbg__bfloat_to_float(uint16_t bits);
uint16_t qdbg__float_to_bfloat(float value); /* nearest even */

#endif
