#include "adaround_soft.h"

#include <math.h>
#include <string.h>

#define ZETA 1.1
#define GAMMA (-0.1)
#define BETA_START 20.0
#define BETA_END 2.0
#define WARM_START 0.2

/* ---- the pieces ---- */

double qdbg__relax_alpha(double fraction)
{
    return -log((ZETA - GAMMA) / (fraction - GAMMA) - 1);
}

double qdbg__relax_h(double alpha)
{
    return qdbg__clamp((ZETA - GAMMA) / (1 + exp(-alpha)) + GAMMA, 0, 1);
}

double qdbg__relax_beta(uint32_t iteration, uint32_t iterations)
{
    const double pi = 3.14159265358979323846, start = WARM_START * (double)iterations;
    double way = ((double)iteration - start) / ((double)iterations - start);
    return BETA_END + 0.5 * (BETA_START - BETA_END) * (1 + cos(way * pi));
}

double qdbg__relax_term(double h, double beta)
{
    return 1 - pow(fabs(2 * h - 1), beta);
}

/* ---- fast functions, good to about 1e-6, that a compiler turns into vectors ---- */

static inline float exp2_fast(float x)
{
    x = x >= -126.0f ? x : -126.0f; /* NaN, too, which has no integer */
    x = x > 126.0f ? 126.0f : x;
    float whole = (x + 12582912.0f) - 12582912.0f, f = x - whole; /* f in [-0.5, 0.5] */
    float p = 1.5403530e-4f;
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static inline float log2_fast(float x) /* x > 0, normal */
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t shifted = bits - 0x3f3504f3; /* mantissa in [sqrt(1/2), sqrt(2)) */
    int32_t exponent = shifted >> 23;
    bits -= exponent * (1 << 23);
    float m;
    memcpy(&m, &bits, sizeof m);
    float t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
    float p = 0.32059805f;
    p = p * t2 + 0.41219858f;
    p = p * t2 + 0.57707802f;
    p = p * t2 + 0.96179669f;
    p = p * t2 + 2.8853901f;
    return p * t + (float)exponent;
}

/* ---- some rows ---- */

void qdbg__soft_open(qdbg__soft *x, const qdbg__block *b, const qdbg__relax_options *options,
                     float *kept, float *room)
{
    const qdbg__rounding *p = b->p;
    size_t n = b->n * p->depth;
    *x = (qdbg__soft){.n = b->n, .d = p->depth, .options = options};
    float **const arrays[] = {&x->alpha, &x->m,    &x->v, &x->base, &x->scale,
                              &x->low,   &x->high, &x->w, &x->e,    &x->g};
    for (size_t i = 0; i < QDBG__SOFT_KEPT + QDBG__SOFT_ROOM; i++)
        *arrays[i] = i < QDBG__SOFT_KEPT ? kept + i * n : room + (i - QDBG__SOFT_KEPT) * n;
    for (size_t i = 0; i < n; i++) {
        const qdbg__step *s = &p->steps[b->at * p->depth + i];
        double w = (double)p->w[b->at * p->depth + i];
        x->base[i] = (float)qdbg__clamp(floor(w / (double)s->scale), (double)s->low - 1, s->high);
        x->scale[i] = s->scale;
        x->low[i] = (float)s->low;
        x->high[i] = (float)s->high;
        x->w[i] = (float)w;
    }
}

void qdbg__soft_start(const qdbg__soft *x)
{
    for (size_t i = 0; i < x->n * x->d; i++) {
        double fraction = (double)x->w[i] / (double)x->scale[i] - (double)x->base[i];
        x->alpha[i] = (float)qdbg__relax_alpha(qdbg__clamp(fraction, 0, 1));
    }
    memset(x->m, 0, x->n * x->d * sizeof *x->m);
    memset(x->v, 0, x->n * x->d * sizeof *x->v);
}

void qdbg__soft_weights(const qdbg__soft *x)
{
    for (size_t i = 0; i < x->n * x->d; i++) {
        float sigmoid = 1.0f / (1.0f + exp2_fast(-1.44269504f * x->alpha[i]));
        float h = 1.2f * sigmoid - 0.1f;
        float inside = h > 0.0f && h < 1.0f ? 1.0f : 0.0f;
        h = h < 0.0f ? 0.0f : h > 1.0f ? 1.0f : h;
        float q = x->base[i] + h;
        float on_grid = q >= x->low[i] && q <= x->high[i] ? inside : 0.0f;
        q = q < x->low[i] ? x->low[i] : q > x->high[i] ? x->high[i] : q;
        x->e[i] = q * x->scale[i] - x->w[i];
        x->g[i] = on_grid * x->scale[i] * 1.2f * sigmoid * (1.0f - sigmoid);
    }
}

/* Add the regularizer's gradient: -beta |2h - 1|^(beta - 1) 2 sign(2h - 1) dh/dalpha. */
static void regularize(const qdbg__soft *x, float *gradient, float beta)
{
    float factor = -2.0f * beta * (float)x->options->regularizer;
    for (size_t i = 0; i < x->n * x->d; i++) {
        float sigmoid = 1.0f / (1.0f + exp2_fast(-1.44269504f * x->alpha[i]));
        float h = 1.2f * sigmoid - 0.1f, away = 2.0f * h - 1.0f;
        float inside = h > 0.0f && h < 1.0f ? 1.2f * sigmoid * (1.0f - sigmoid) : 0.0f;
        float size = away < 0.0f ? -away : away, sign = away < 0.0f ? -1.0f : 1.0f;
        size = size < 1e-30f ? 1e-30f : size;
        float power = exp2_fast((beta - 1.0f) * log2_fast(size));
        gradient[i] += factor * power * sign * inside;
    }
}

static void adam(const qdbg__soft *x, const float *gradient, uint32_t step)
{
    float first = (float)(1 - pow(0.9, step)), second = (float)(1 - pow(0.999, step));
    float rate = (float)x->options->learning_rate / first, root = 1.0f / sqrtf(second);
    for (size_t i = 0; i < x->n * x->d; i++) {
        x->m[i] = 0.9f * x->m[i] + 0.1f * gradient[i];
        x->v[i] = 0.999f * x->v[i] + 0.001f * gradient[i] * gradient[i];
        x->alpha[i] -= rate * x->m[i] / (sqrtf(x->v[i]) * root + 1e-8f);
    }
}

void qdbg__soft_step(const qdbg__soft *x, float *gradient, uint32_t it)
{
    uint32_t iterations = x->options->iterations;
    if ((double)it >= WARM_START * (double)iterations)
        regularize(x, gradient, (float)qdbg__relax_beta(it, iterations));
    adam(x, gradient, it + 1);
}

void qdbg__soft_decide(const qdbg__soft *x, const qdbg__block *b)
{
    int32_t *q = b->p->q + b->at * x->d;
    for (size_t i = 0; i < x->n * x->d; i++) {
        float up = x->base[i] + (x->alpha[i] >= 0 ? 1.0f : 0.0f);
        q[i] = (int32_t)qdbg__clamp((double)up, (double)x->low[i], (double)x->high[i]);
    }
}
