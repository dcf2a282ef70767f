/* BatchNormalization, for inference: s = scale / sqrtf(var + epsilon); y = x * s + (bias - mean *
 * s). The factors are worked out in each run, because a variant may bring its own parameters. */
#include <math.h>

#include "ops.h"
#include "window.h"

typedef struct batch_norm {
    int64_t batch, channels, area;
    float epsilon;
} batch_norm;

static qdbg_status check_mode(qdbg__infer *x)
{
    for (uint32_t i = 1; i < x->node->n_out; i++) {
        if (x->node->out[i] != QDBG_NONE)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "output %u is for training", i);
    }
    if (qdbg__attr_int(x->node, "training_mode", 0) != 0)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "training_mode is not supported");
    if (x->opset < 9 && qdbg__attr_int(x->node, "spatial", 1) != 1)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "spatial = 0 is not supported");
    return QDBG_OK;
}

static qdbg_status batch_norm_infer(qdbg__infer *x)
{
    static const char *const names[] = {"", "scale", "bias", "mean", "variance"};
    const qdbg_view *in = x->in[0];
    batch_norm *p = x->params;
    char shape[128];
    uint64_t count;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status == QDBG_OK)
        status = check_mode(x);
    if (status != QDBG_OK)
        return status;
    if (in->rank < 1 || !qdbg__shape_count(in->rank, in->dims, &count))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "an input of %s cannot be normalized",
                                qdbg__shape_text(in->rank, in->dims, shape, sizeof shape));
    p->batch = in->dims[0];
    p->channels = in->rank > 1 ? in->dims[1] : 1;
    p->area = 1;
    for (uint32_t i = 2; i < in->rank && count > 0; i++)
        p->area *= in->dims[i];
    if (count == 0)
        p->batch = 0;
    for (uint32_t i = 1; i < 5; i++) {
        const qdbg_view *v = x->in[i];
        if (v->rank != 1 || v->dims[0] != p->channels)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "%s %s does not fit %lld channels", names[i],
                                    qdbg__shape_text(v->rank, v->dims, shape, sizeof shape),
                                    (long long)p->channels);
    }
    p->epsilon = qdbg__attr_float(x->node, "epsilon", 1e-5f);
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status batch_norm_run(const qdbg__run *r)
{
    const batch_norm *p = r->params;
    const float *x = r->in[0]->data, *scale = r->in[1]->data, *bias = r->in[2]->data;
    const float *mean = r->in[3]->data, *variance = r->in[4]->data;
    float *y = r->out[0]->data;
    for (int64_t n = 0; n < p->batch; n++) {
        for (int64_t c = 0; c < p->channels; c++) {
            float s = scale[c] / sqrtf(variance[c] + p->epsilon);
            float t = bias[c] - mean[c] * s;
            for (int64_t i = 0; i < p->area; i++)
                y[i] = x[i] * s + t;
            x += p->area;
            y += p->area;
        }
    }
    return QDBG_OK;
}

static const qdbg__op ops[] = {
    {"BatchNormalization", 5, 5, 5, QDBG__OP_IN_PLACE, batch_norm_infer, batch_norm_run},
};

const qdbg__op_table qdbg__ops_batch_norm = {ops, sizeof ops / sizeof *ops};
