/* Quantization to stored integers and back: the specification. */
#include "ref.h"

#include <math.h>

int32_t qdbg__store_get(const void *data, size_t i, int32_t store)
{
    switch (store) {
    case QDBG__STORE_I8:
        return ((const int8_t *)data)[i];
    case QDBG__STORE_U8:
        return ((const uint8_t *)data)[i];
    case QDBG__STORE_I16:
    case QDBG__STORE_U16: {
        uint16_t bits;
        memcpy(&bits, (const char *)data + 2 * i, sizeof bits);
        return store == QDBG__STORE_U16 ? bits : (int16_t)bits;
    }
    default: {
        int32_t half = ((const uint8_t *)data)[i / 2] >> (i % 2 * 4) & 15;
        return store == QDBG__STORE_I4 && half > 7 ? half - 16 : half;
    }
    }
}

void qdbg__store_put(void *data, size_t i, int32_t value, int32_t store)
{
    uint8_t *bytes = data;
    uint16_t bits = (uint16_t)value;
    switch (store) {
    case QDBG__STORE_I8:
    case QDBG__STORE_U8:
        bytes[i] = (uint8_t)value;
        break;
    case QDBG__STORE_I16:
    case QDBG__STORE_U16:
        memcpy(bytes + 2 * i, &bits, sizeof bits);
        break;
    default:
        if (i % 2 == 0)
            bytes[i / 2] = (uint8_t)(value & 15);
        else
            bytes[i / 2] = (uint8_t)((bytes[i / 2] & 15) | (value & 15) << 4);
    }
}

static int32_t quantize_one(float x, const qdbg__grid *grid)
{
    if (isnan(x))
        return grid->zero_point;
    return (int32_t)qdbg__grid_clamp(qdbg__grid_round(x, grid), grid) + grid->zero_point;
}

void qdbg__quantize_ref(const float *src, void *dst, size_t n, const qdbg__grid *grid,
                        int32_t store)
{
    for (size_t i = 0; i < n; i++)
        qdbg__store_put(dst, i, quantize_one(src[i], grid), store);
}

void qdbg__dequantize_ref(const void *src, float *dst, size_t n, const qdbg__grid *grid,
                          int32_t store)
{
    for (size_t i = 0; i < n; i++) {
        int32_t steps = qdbg__store_get(src, i, store) - grid->zero_point;
        dst[i] = (float)steps * grid->scale;
    }
}
