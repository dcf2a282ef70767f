/* Which quantizer costs this model most?  usage: first fashion_mnist.onnx < images_u8 */
#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>
#include <stdio.h>

static unsigned char pixels[200 * 28 * 28];
static float images[200 * 28 * 28];

int main(int argc, char **argv)
{
    qdbg_status status = QDBG_OK;
    qdbg_ctx *ctx = NULL;
    qdbg_graph *graph = NULL;
    qdbg_model *model = NULL;
    qdbg_arrays *arrays = NULL;
    qdbg_diagnosis *diagnosis = NULL;
    qdbg_view view = {sizeof view, QDBG_F32, 4, 0, {200, 1, 28, 28}, images};
    qdbg_dataset data = QDBG_DATASET_INIT;
    qdbg_diagnose_options options = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_finding worst = QDBG_FINDING_INIT;

    if (argc != 2 || fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels) {
        fprintf(stderr, "usage: first MODEL.onnx < 200 images of 28 x 28 bytes\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof pixels; i++)
        images[i] = (pixels[i] - 72.94f) / 90.02f;
    options.calibration = options.evaluation = &data;

    int failed = (status = qdbg_ctx_create(NULL, &ctx)) ||
                 (status = qdbg_onnx_load_file(ctx, argv[1], &graph)) ||
                 (status = qdbg_model_create(graph, &model)) ||
                 (status = qdbg_arrays_create(ctx, &view, 1, NULL, 50, &arrays)) ||
                 (status = qdbg_arrays_dataset(arrays, &data)) ||
                 (status = qdbg_diagnose(model, &options, &diagnosis)) ||
                 (status = qdbg_diagnosis_finding(diagnosis, 0, &worst));
    const char *message = qdbg_ctx_error_message(ctx); /* "" where no context could be made */
    if (failed)
        fprintf(stderr, "first: %s\n", *message ? message : qdbg_status_name(status));
    else
        printf("%s: agreement with float32 %.3f, output SQNR %.1f dB\n", worst.name,
               worst.score_alone, worst.output_sqnr_db);

    qdbg_diagnosis_destroy(diagnosis);
    qdbg_arrays_destroy(arrays);
    qdbg_model_destroy(model);
    qdbg_graph_destroy(graph);
    qdbg_ctx_destroy(ctx);
    return failed;
}
