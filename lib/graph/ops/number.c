#include "number.h"

#include <math.h>
#include <string.h>

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float qdbg__half_to_float(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 31u, mantissa = bits & 1023u;
    if (exponent == 31)
        return bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent > 0)
        return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float value = (float)mantissa * 0x1p-24f; /* subnormal or zero */
    return sign ? -value : value;
}

uint16_t qdbg__float_to_half(float value)
{
    uint32_t bits = float_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    float size = fabsf(value);
    if (value != value)
        return (uint16_t)(sign | 0x7e00u);
    if (size >= 65520.0f) /* the first that rounds up to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (size < 0x1p-14f) /* subnormal: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint16_t)rintf(size * 0x1p24f));
    uint32_t rest = float_bits(size) - (112u << 23);
    return (uint16_t)(sign | (rest + 0xfffu + (rest >> 13 & 1u)) >> 13);
}

float qdbg__bfloat_to_float(uint16_t bits)
{
    return bits_float((uint32_t)bits << 16);
}

uint16_t qdbg__float_to_bfloat(float value)
{
    uint32_t bits = float_bits(value);
    if (value != value)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

int64_t qdbg__double_to_i64(double value)
{
    if (value != value)
        return 0;
    if (value >= 0x1p63)
        return INT64_MAX;
    return value <= -0x1p63 ? INT64_MIN : (int64_t)value;
}

uint64_t qdbg__double_to_u64(double value)
{
    if (!(value > 0))
        return 0;
    return value >= 0x1p64 ? UINT64_MAX : (uint64_t)value;
}

bool qdbg__is_float(int32_t dtype)
{
    return dtype == QDBG_F32 || dtype == QDBG_F64 || dtype == QDBG_F16 || dtype == QDBG_BF16;
}

bool qdbg__is_signed(int32_t dtype)
{
    return dtype == QDBG_I8 || dtype == QDBG_I16 || dtype == QDBG_I32 || dtype == QDBG_I64;
}

bool qdbg__is_int(int32_t dtype)
{
    return qdbg__is_signed(dtype) || dtype == QDBG_U8 || dtype == QDBG_U16 || dtype == QDBG_U32 ||
           dtype == QDBG_U64;
}

int64_t qdbg__load_int(const void *data, int32_t dtype, int64_t i)
{
    switch (dtype) {
    case QDBG_I8:
        return ((const int8_t *)data)[i];
    case QDBG_U8:
    case QDBG_BOOL:
        return ((const uint8_t *)data)[i];
    case QDBG_I16:
        return ((const int16_t *)data)[i];
    case QDBG_U16:
        return ((const uint16_t *)data)[i];
    case QDBG_I32:
        return ((const int32_t *)data)[i];
    case QDBG_U32:
        return ((const uint32_t *)data)[i];
    default:
        return ((const int64_t *)data)[i];
    }
}

bool qdbg__read_index(const qdbg_view *indices, int64_t i, int64_t size, int64_t *index)
{
    *index = indices->dtype == QDBG_I32 ? ((const int32_t *)indices->data)[i]
                                        : ((const int64_t *)indices->data)[i];
    if (*index < 0)
        *index += size;
    return *index >= 0 && *index < size;
}

double qdbg__load_double(const void *data, int32_t dtype, int64_t i)
{
    switch (dtype) {
    case QDBG_F32:
        return ((const float *)data)[i];
    case QDBG_F64:
        return ((const double *)data)[i];
    case QDBG_F16:
        return qdbg__half_to_float(((const uint16_t *)data)[i]);
    case QDBG_BF16:
        return qdbg__bfloat_to_float(((const uint16_t *)data)[i]);
    case QDBG_U64:
        return (double)((const uint64_t *)data)[i];
    default:
        return (double)qdbg__load_int(data, dtype, i);
    }
}

void qdbg__store_int(void *data, int32_t dtype, int64_t i, int64_t value)
{
    switch (qdbg_dtype_size(dtype)) {
    case 1:
        ((uint8_t *)data)[i] = dtype == QDBG_BOOL ? value != 0 : (uint8_t)value;
        break;
    case 2:
        ((uint16_t *)data)[i] = (uint16_t)value;
        break;
    case 4:
        ((uint32_t *)data)[i] = (uint32_t)value;
        break;
    default:
        ((uint64_t *)data)[i] = (uint64_t)value;
    }
}

/* Bring a value into the range of an integer type of up to 32 bits. */
static int64_t saturate(int32_t dtype, double value)
{
    int bits = (int)qdbg_dtype_size(dtype) * 8;
    int64_t max = ((int64_t)1 << (qdbg__is_signed(dtype) ? bits - 1 : bits)) - 1;
    int64_t min = qdbg__is_signed(dtype) ? -max - 1 : 0;
    int64_t v = qdbg__double_to_i64(value);
    return v < min ? min : v > max ? max : v;
}

void qdbg__store_double(void *data, int32_t dtype, int64_t i, double value)
{
    switch (dtype) {
    case QDBG_F32:
        ((float *)data)[i] = (float)value;
        break;
    case QDBG_F64:
        ((double *)data)[i] = value;
        break;
    case QDBG_F16:
        ((uint16_t *)data)[i] = qdbg__float_to_half((float)value);
        break;
    case QDBG_BF16:
        ((uint16_t *)data)[i] = qdbg__float_to_bfloat((float)value);
        break;
    case QDBG_U64:
        ((uint64_t *)data)[i] = qdbg__double_to_u64(value);
        break;
    case QDBG_I64:
        ((int64_t *)data)[i] = qdbg__double_to_i64(value);
        break;
    case QDBG_BOOL:
        ((uint8_t *)data)[i] = value != 0;
        break;
    default:
        qdbg__store_int(data, dtype, i, saturate(dtype, value));
    }
}
