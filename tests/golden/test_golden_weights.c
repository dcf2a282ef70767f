/* Golden facts G18 to G23: folding, cross-layer equalization and bias correction on seeded numbers
 * (NumPy's legacy RandomState, seed 1; the order of drawing is the order of the arrays of each
 * fact). Figures are those of AIMET 1.35's own tests, but G18 where gamma < 0: there AIMET keeps
 * gamma's sign in E[x], and a standard deviation has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../graph_make.h"
#include "../support.h"

static const float g18_conv_weight[] = {
    1.624345364f,  -0.611756414f, -0.528171752f, -1.072968622f, 0.865407629f,  -2.301538697f,
    1.744811764f,  -0.761206901f, 0.319039096f,  -0.249370375f, 1.462107937f,  -2.060140709f,
    -0.322417204f, -0.384054355f, 1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f,
    0.042213747f,  0.582815214f,  -1.100619177f, 1.14472371f,   0.901590721f,  0.502494339f,
    0.900855949f,  -0.683727859f, -0.122890226f, -0.935769434f, -0.26788808f,  0.530355467f,
    -0.691660752f, -0.396753527f, -0.6871727f,   -0.845205641f, -0.671246131f, -0.012664599f};
static const float g18_conv_weight_quantized[] = {
    -1.117310349f, 0.234415698f, 1.659802177f, 0.742044161f,  -0.191835552f, -0.887628964f,
    -0.747158294f, 1.692454601f, 0.050807755f, -0.636995647f, 0.190915485f,  2.100255136f,
    0.120158952f,  0.61720311f,  0.30017032f,  -0.352249846f, -1.142518198f, -0.349342722f,
    -0.208894233f, 0.586623191f, 0.838983414f, 0.931102081f,  0.285587325f,  0.885141164f,
    -0.754397941f, 1.252868155f, 0.51292982f,  -0.298092835f, 0.488518147f,  -0.075571713f,
    1.131629387f,  1.519816816f, 2.185575407f, -1.396496335f, -1.444113805f, -0.504465863f};
static const float g18_conv_gamma[] = {0.160037069f, 0.876168921f, 0.315634947f};
static const float g18_conv_beta[] = {-2.022201216f, -0.306204013f, 0.827974643f};
static const float g18_conv_bias[] = {0.230094735f, 0.76201118f, -0.222328143f};
static const float g18_conv_none_input[] = {-2.022201216f, -0.306204013f, 0.827974643f};
static const float g18_conv_none_bias[] = {2.740218082f, 2.061118293f, 3.238112222f};
static const float g18_conv_relu_input[] = {0.0f, 0.217570062f, 0.828403688f};
static const float g18_conv_relu_bias[] = {-1.689283144f, -0.324605948f, -1.944197026f};
static const float g18_conv_relu6_input[] = {0.0f, 0.217570062f, 0.828403688f};
static const float g18_conv_relu6_bias[] = {-1.689283144f, -0.324605948f, -1.944197026f};
static const float g18_depthwise_weight[] = {
    1.624345364f, -0.611756414f, -0.528171752f, -1.072968622f, 0.865407629f, -2.301538697f,
    1.744811764f, -0.761206901f, 0.319039096f,  -0.249370375f, 1.462107937f, -2.060140709f};
static const float g18_depthwise_weight_quantized[] = {
    -0.322417204f, -0.384054355f, 1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f,
    0.042213747f,  0.582815214f,  -1.100619177f, 1.14472371f,   0.901590721f,  0.502494339f};
static const float g18_depthwise_gamma[] = {0.900855949f, -0.683727859f, -0.122890226f};
static const float g18_depthwise_beta[] = {-0.935769434f, -0.26788808f, 0.530355467f};
static const float g18_depthwise_bias[] = {-0.691660752f, -0.396753527f, -0.6871727f};
static const float g18_depthwise_none_input[] = {-0.935769434f, -0.26788808f, 0.530355467f};
static const float g18_depthwise_none_bias[] = {-0.770304648f, -0.38944861f, -1.735448731f};
static const float g18_depthwise_relu_input[] = {0.069677621f, 0.159496611f, 0.530355674f};
static const float g18_depthwise_relu_bias[] = {-0.685804908f, -0.401102766f, -1.73544914f};
static const float g18_depthwise_relu6_input[] = {0.069677621f, 0.159496611f, 0.530355674f};
static const float g18_depthwise_relu6_bias[] = {-0.685804908f, -0.401102766f, -1.73544914f};
static const float g20_beta[] = {1.624345364f, -0.611756414f};
static const float g20_gamma[] = {-0.528171752f, -1.072968622f};
static const float g20_mean[] = {0.865407629f, -2.301538697f};
static const float g20_sigma[] = {1.744811764f, -0.761206901f};
static const float g20_weight[] = {
    0.319039096f,  -0.249370375f, 1.462107937f,  -2.060140709f, -0.322417204f, -0.384054355f,
    1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f, 0.042213747f,  0.582815214f,
    -1.100619177f, 1.14472371f,   0.901590721f,  0.502494339f,  0.900855949f,  -0.683727859f,
    -0.122890226f, -0.935769434f, -0.26788808f,  0.530355467f,  -0.691660752f, -0.396753527f};
static const float g20_bias[] = {0.019366958f, 0.678835533f};
static const float g20_folded_weight[] = {
    -0.096576285f, 0.075486875f,  -0.442594512f, 0.623624938f, 0.097598872f,  0.116257046f,
    -0.343203207f, 0.332947949f,  0.052195721f,  0.265736413f, -0.012778518f, -0.176423921f,
    -1.551391403f, 1.613559494f,  1.270848375f,  0.708297124f, 1.269812669f,  -0.963757079f,
    -0.173221441f, -1.319025405f, -0.377604963f, 0.747569122f, -0.974938986f, -0.559248851f};
static const float g20_folded_bias[] = {1.88045023f, 3.589267023f};
static const float g21_weight[] = {
    1.624345364f,  -0.611756414f, -0.528171752f, -1.072968622f, 0.865407629f,  -2.301538697f,
    1.744811764f,  -0.761206901f, 0.319039096f,  -0.249370375f, 1.462107937f,  -2.060140709f,
    -0.322417204f, -0.384054355f, 1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f,
    0.042213747f,  0.582815214f,  -1.100619177f, 1.14472371f,   0.901590721f,  0.502494339f};
static const float g21_beta[] = {0.900855949f, -0.683727859f};
static const float g21_gamma[] = {-0.122890226f, -0.935769434f};
static const float g21_mean[] = {-0.26788808f, 0.530355467f};
static const float g21_sigma[] = {-0.691660752f, -0.396753527f};
static const float g21_bias[] = {0.019366958f, 0.678835533f, 0.211628116f, 0.265546659f};
static const float g21_folded_weight[] = {
    0.288604157f,  -0.108693291f, -0.093842459f, -2.530667461f, 2.041121132f,  -5.42833124f,
    0.31000792f,   -0.135246777f, 0.056684995f,  -0.588156524f, 3.448478273f,  -4.85897812f,
    -0.057285198f, -0.068236525f, 0.201441505f,  -2.5941663f,   -0.406683332f, -2.07048714f,
    0.007500291f,  0.103551189f,  -0.19555156f,  2.699906581f,  2.126461345f,  1.185166133f};
static const float g21_folded_bias[] = {5.332933852f, 3.553723228f, 4.776647669f, -5.116469697f};
static const float g22_weight1[] = {
    1.624345364f,  -0.611756414f, -0.528171752f, -1.072968622f, 0.865407629f,  -2.301538697f,
    1.744811764f,  -0.761206901f, 0.319039096f,  -0.249370375f, 1.462107937f,  -2.060140709f,
    -0.322417204f, -0.384054355f, 1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f,
    0.042213747f,  0.582815214f,  -1.100619177f, 1.14472371f,   0.901590721f,  0.502494339f};
static const float g22_bias1[] = {0.900855949f, -0.683727859f};
static const float g22_weight2[] = {
    -0.122890226f, -0.935769434f, -0.26788808f,  0.530355467f,  -0.691660752f, -0.396753527f,
    -0.6871727f,   -0.845205641f, -0.671246131f, -0.012664599f, -1.117310349f, 0.234415698f,
    1.659802177f,  0.742044161f,  -0.191835552f, -0.887628964f, -0.747158294f, 1.692454601f,
    0.050807755f,  -0.636995647f, 0.190915485f,  2.100255136f,  0.120158952f,  0.61720311f};
static const float g22_scale[] = {1.166139824f, 0.738268454f};
static const float g22_equalized_weight1[] = {
    1.392925043f,  -0.524599539f, -0.452923176f, -0.92010289f,  0.742113091f,  -1.97363871f,
    1.496228607f,  -0.65275783f,  0.273585628f,  -0.213842603f, 1.253801566f,  -1.766632669f,
    -0.436720819f, -0.520209624f, 1.535714328f,  -1.489825634f, -0.233557599f, -1.189077515f,
    0.057179399f,  0.789435348f,  -1.490811604f, 1.550552112f,  1.221223413f,  0.68063905f};
static const float g22_equalized_bias1[] = {0.772511093f, -0.926123629f};
static const float g22_equalized_weight2[] = {
    -0.143307186f, -1.091238003f, -0.312394958f, 0.61846863f,   -0.510631314f, -0.292910613f,
    -0.507317927f, -0.623988662f, -0.782766845f, -0.014768693f, -1.302940093f, 0.27336148f,
    1.225379587f,  0.547827795f,  -0.141626137f, -0.655308463f, -0.871291041f, 1.97363871f,
    0.059248946f,  -0.742825991f, 0.14094688f,   1.550552112f,  0.088709564f,  0.455661585f};
static const float g23_weight1[] = {
    1.624345364f,  -0.611756414f, -0.528171752f, -1.072968622f, 0.865407629f,  -2.301538697f,
    1.744811764f,  -0.761206901f, 0.319039096f,  -0.249370375f, 1.462107937f,  -2.060140709f,
    -0.322417204f, -0.384054355f, 1.133769442f,  -1.099891267f, -0.172428208f, -0.877858418f,
    0.042213747f,  0.582815214f,  -1.100619177f, 1.14472371f,   0.901590721f,  0.502494339f};
static const float g23_bias1[] = {0.900855949f, -0.683727859f};
static const float g23_weight2[] = {-0.122890226f, -0.935769434f, -0.26788808f,  0.530355467f,
                                    -0.691660752f, -0.396753527f, -0.6871727f,   -0.845205641f,
                                    -0.671246131f, -0.012664599f, -1.117310349f, 0.234415698f,
                                    1.659802177f,  0.742044161f,  -0.191835552f, -0.887628964f};
static const float g23_bias2[] = {-0.747158294f, 1.692454601f};
static const float g23_weight3[] = {
    0.050807755f,  -0.636995647f, 0.190915485f,  2.100255136f,  0.120158952f,  0.61720311f,
    0.30017032f,   -0.352249846f, -1.142518198f, -0.349342722f, -0.208894233f, 0.586623191f,
    0.838983414f,  0.931102081f,  0.285587325f,  0.885141164f,  -0.754397941f, 1.252868155f,
    0.51292982f,   -0.298092835f, 0.488518147f,  -0.075571713f, 1.131629387f,  1.519816816f,
    2.185575407f,  -1.396496335f, -1.444113805f, -0.504465863f, 0.160037069f,  0.876168921f,
    0.315634947f,  -2.022201216f, -0.306204013f, 0.827974643f,  0.230094735f,  0.76201118f,
    -0.222328143f, -0.200758069f, 0.186561391f,  0.410051647f,  0.19829972f,   0.119008646f,
    -0.670662286f, 0.377563786f,  0.121821271f,  1.129483908f,  1.19891788f,   0.185156417f,
    -0.37528495f,  -0.638730407f, 0.423494354f,  0.077340068f,  -0.343853676f, 0.043596857f,
    -0.620000844f, 0.698032034f,  -0.447128565f, 1.224507705f,  0.403491642f,  0.593578523f,
    -1.094911846f, 0.169382433f,  0.740556451f,  -0.953700602f, -0.266218506f, 0.032614547f,
    -1.37311732f,  0.315159392f,  0.846160648f,  -0.859515941f, 0.350545979f,  -1.312283411f,
    -0.038695509f, -1.615772355f, 1.121417708f,  0.408900538f,  -0.024616956f, -0.775161619f,
    1.27375593f,   1.967101749f};
static const float g23_scale12[] = {1.39165596f, 0.712185418f};
static const float g23_scale23[] = {0.787434324f, 0.735430786f};
static const float g23_equalized_bias1[] = {0.64732662f, -0.960041925f};
static const float g23_equalized_bias2[] = {-0.948851568f, 2.301310515f};

static void close_to(const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fabs((double)got[i] - (double)want[i]) > 1e-5 * fmax(1e-2, fabs((double)want[i])))
            fail_msg("element %zu: %.9g instead of %.9g", i, (double)got[i], (double)want[i]);
}

static void parameter_is(qdbg_model *m, const char *name, const float *want, size_t n)
{
    float got[256];
    assert_true(n <= 256);
    assert_ok(qdbg_model_get_parameter(m, value_of(qdbg_model_graph(m), name), got, n));
    close_to(got, want, n);
}

/* ---- G18 ---- */

static void analytical_case(const float *w, const float *wq, const float *gamma, const float *beta,
                            const float *bias, bool depthwise, double low, double high,
                            const float *input, const float *want)
{
    for (size_t c = 0; c < 3; c++) {
        double x = qdbg_clipped_normal_mean((double)beta[c], (double)gamma[c], low, high);
        assert_true(fabs(x - (double)input[c]) <= 1e-5 * fmax(1e-2, fabs(x)));
    }
    for (size_t o = 0; o < 3; o++) {
        double b = (double)bias[o];
        for (size_t i = 0; i < (depthwise ? 4u : 12u); i++) {
            size_t at = o * (depthwise ? 4 : 12) + i, c = depthwise ? o : i / 4;
            b -= ((double)wq[at] - (double)w[at]) *
                 qdbg_clipped_normal_mean((double)beta[c], (double)gamma[c], low, high);
        }
        assert_true(fabs(b - (double)want[o]) <= 1e-5 * fmax(1e-2, fabs(b)));
    }
}

static void g18_analytical_bias_correction(void **state)
{
    const double inf = (double)INFINITY;
    (void)state;
#define CASE(net, depthwise, kind, low, high)                                                  \
    analytical_case(net##_weight, net##_weight_quantized, net##_gamma, net##_beta, net##_bias, \
                    depthwise, low, high, net##_##kind##_input, net##_##kind##_bias)
    CASE(g18_conv, false, none, -inf, inf);
    CASE(g18_conv, false, relu, 0, inf);
    CASE(g18_conv, false, relu6, 0, 6);
    CASE(g18_depthwise, true, none, -inf, inf);
    CASE(g18_depthwise, true, relu, 0, inf);
    CASE(g18_depthwise, true, relu6, 0, 6);
}

/* ---- G19 ---- */

/* A layer that puts out `o1` in float32 and `o2` once its weight has two bits: of weights 1 and
 * 0.49 the second goes to zero. Outputs are [2,3,2,2]. */
static qdbg_graph *two_outputs(qdbg_ctx *ctx, const float *o1, const float *o2, const float *bias,
                               float *x)
{
    float w[3 * 6] = {0};
    for (size_t i = 0; i < 24; i++) {
        size_t at = i / 12 * 24 + i % 12;
        x[at] = o2[i];
        x[at + 12] = (o1[i] - o2[i]) / 0.49f;
    }
    for (size_t c = 0; c < 3; c++) {
        w[c * 6 + c] = 1;
        w[c * 6 + 3 + c] = 0.49f;
    }
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t in[] = {make_input(g, "x", DIMS(1, 6, 2, 2)), make_param(g, "w", DIMS(3, 6, 1, 1), w),
                     make_param(g, "b", DIMS(3), bias)};
    make_finish(g, make_node(g, "Conv", "c", in, 3, NULL));
    return g;
}

/* b + E[o1] - E[o2], whatever the layer is. */
static void g19_empirical_bias_correction(void **state)
{
    static const float want[] = {-0.12216166f, 0.62749451f, 0.47906181f};
    float o[48], x[48];
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_sim_options options = QDBG_SIM_OPTIONS_INIT;
    qdbg_bias_correction *b;
    qdbg_arrays *arrays;
    qdbg_dataset data;
    qdbg_sim *sim;
    (void)state;
    memcpy(o, g18_conv_weight, 36 * sizeof *o); /* the same draws */
    memcpy(o + 36, g18_conv_weight_quantized, 12 * sizeof *o);
    qdbg_graph *g = two_outputs(ctx, o, o + 24, g18_conv_weight_quantized + 12, x);
    qdbg_model *m = builtin_model(g);
    qdbg_view view = make_view(DIMS(2, 6, 2, 2), x);
    assert_ok(qdbg_arrays_create(ctx, &view, 1, NULL, 2, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &data));
    options.weight_bits = 2;
    options.activation_bits = QDBG_BITS_BYPASS;
    assert_ok(qdbg_sim_create(m, &options, &sim));
    assert_ok(qdbg_bias_correct(sim, &data, NULL, &b));
    parameter_is(m, "b", want, 3);
    qdbg_bias_correction_destroy(b);
    qdbg_sim_destroy(sim);
    qdbg_arrays_destroy(arrays);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- G20, G21: sigma is the divisor itself, whose sign goes to gamma here ---- */

static uint32_t norm(qdbg_graph *g, uint32_t x, const float *gamma, const float *beta,
                     const float *mean, const float *sigma)
{
    float scale[2], var[2];
    uint32_t node;
    for (int c = 0; c < 2; c++) {
        scale[c] = sigma[c] < 0 ? -gamma[c] : gamma[c];
        var[c] = sigma[c] * sigma[c];
    }
    uint32_t in[] = {x, make_param(g, "gamma", DIMS(2), scale),
                     make_param(g, "beta", DIMS(2), beta), make_param(g, "mean", DIMS(2), mean),
                     make_param(g, "var", DIMS(2), var)};
    uint32_t y = make_node(g, "BatchNormalization", "n", in, 5, &node);
    assert_ok(qdbg_graph_set_float(g, node, "epsilon", 1e-12f));
    return y;
}

static void g20_fold_into_the_layer_before(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold *fold;
    float bias[2], beta[2];
    (void)state;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 3, 4, 4));
    uint32_t w = make_param(g, "w", DIMS(2, 3, 2, 2), g20_weight);
    uint32_t b = make_param(g, "b", DIMS(2), g20_bias);
    uint32_t y = make_node(g, "Conv", "c", VALUES(x, w, b), NULL);
    make_finish(g, norm(g, y, g20_gamma, g20_beta, g20_mean, g20_sigma));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_fold_run(m, NULL, &fold));
    parameter_is(m, "w", g20_folded_weight, 24);
    assert_ok(qdbg_model_get_parameter(m, b, bias, 2));
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "beta"), beta, 2));
    for (int c = 0; c < 2; c++)
        bias[c] += beta[c];
    close_to(bias, g20_folded_bias, 2);
    qdbg_fold_destroy(fold);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void g21_fold_into_the_layer_behind(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold *fold;
    (void)state;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 4, 4));
    uint32_t n = norm(g, x, g21_gamma, g21_beta, g21_mean, g21_sigma);
    uint32_t w = make_param(g, "w", DIMS(4, 2, 3, 1), g21_weight);
    uint32_t b = make_param(g, "b", DIMS(4), g21_bias);
    make_finish(g, make_node(g, "Conv", "c", VALUES(n, w, b), NULL));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_fold_run(m, NULL, &fold));
    parameter_is(m, "w", g21_folded_weight, 24);
    parameter_is(m, "b", g21_folded_bias, 4);
    qdbg_fold_destroy(fold);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- G22, G23 ---- */

static void g22_equalize_a_pair(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize *e;
    float s[2];
    (void)state;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 3, 6, 6));
    uint32_t w1 = make_param(g, "w1", DIMS(2, 3, 2, 2), g22_weight1);
    uint32_t b1 = make_param(g, "b1", DIMS(2), g22_bias1);
    uint32_t w2 = make_param(g, "w2", DIMS(3, 2, 2, 2), g22_weight2);
    uint32_t c = make_node(g, "Conv", "c", VALUES(x, w1, b1), NULL);
    uint32_t r = make_node(g, "Relu", "r", &c, 1, NULL);
    make_finish(g, make_node(g, "Conv", "d", VALUES(r, w2), NULL));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    assert_ok(qdbg_equalize_factors(e, r, s, 2));
    close_to(s, g22_scale, 2);
    parameter_is(m, "w1", g22_equalized_weight1, 24);
    parameter_is(m, "b1", g22_equalized_bias1, 2);
    parameter_is(m, "w2", g22_equalized_weight2, 24);
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* The seeded second weight [2,2,4,1] as a depthwise one: [2,1,8,1] has the same ranges. */
static void g23_equalize_through_a_depthwise_layer(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_equalize *e;
    uint32_t node;
    float s[2];
    (void)state;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 20, 8));
    uint32_t w1 = make_param(g, "w1", DIMS(2, 2, 3, 2), g23_weight1);
    uint32_t b1 = make_param(g, "b1", DIMS(2), g23_bias1);
    uint32_t w2 = make_param(g, "w2", DIMS(2, 1, 8, 1), g23_weight2);
    uint32_t b2 = make_param(g, "b2", DIMS(2), g23_bias2);
    uint32_t w3 = make_param(g, "w3", DIMS(2, 2, 4, 5), g23_weight3);
    uint32_t c = make_node(g, "Conv", "c", VALUES(x, w1, b1), NULL);
    uint32_t d = make_node(g, "Conv", "d", VALUES(c, w2, b2), &node);
    assert_ok(qdbg_graph_set_int(g, node, "group", 2));
    make_finish(g, make_node(g, "Conv", "e", VALUES(d, w3), NULL));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    assert_ok(qdbg_equalize_factors(e, c, s, 2));
    close_to(s, g23_scale12, 2);
    assert_ok(qdbg_equalize_factors(e, d, s, 2));
    close_to(s, g23_scale23, 2);
    parameter_is(m, "b1", g23_equalized_bias1, 2);
    parameter_is(m, "b2", g23_equalized_bias2, 2);
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(g18_analytical_bias_correction),
        cmocka_unit_test(g19_empirical_bias_correction),
        cmocka_unit_test(g20_fold_into_the_layer_before),
        cmocka_unit_test(g21_fold_into_the_layer_behind),
        cmocka_unit_test(g22_equalize_a_pair),
        cmocka_unit_test(g23_equalize_through_a_depthwise_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
