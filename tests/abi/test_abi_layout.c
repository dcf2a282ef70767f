/* The layout of every public struct, field by field: what a program compiled yesterday relies on.
 *
 * A struct may only grow at its end. A line that no longer compiles is a broken ABI, not a line to
 * be adjusted; test_abi.py sees to it that no field is missing here. Run, the program checks that
 * every QDBG_X_INIT is what qdbg_x_init() gives. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>

#if UINTPTR_MAX == UINT64_MAX
#define SIZE(type, size) _Static_assert(sizeof(type) == (size), "size of " #type)
#define AT(type, field, offset) \
    _Static_assert(offsetof(type, field) == (offset), "offset of " #type "." #field)

SIZE(qdbg_allocator, 32);
AT(qdbg_allocator, struct_size, 0);
AT(qdbg_allocator, reserved, 4);
AT(qdbg_allocator, user, 8);
AT(qdbg_allocator, alloc, 16);
AT(qdbg_allocator, free, 24);

SIZE(qdbg_progress, 32);
AT(qdbg_progress, struct_size, 0);
AT(qdbg_progress, reserved, 4);
AT(qdbg_progress, stage, 8);
AT(qdbg_progress, done, 16);
AT(qdbg_progress, total, 24);

SIZE(qdbg_ctx_options, 80);
AT(qdbg_ctx_options, struct_size, 0);
AT(qdbg_ctx_options, flags, 4);
AT(qdbg_ctx_options, threads, 8);
AT(qdbg_ctx_options, cpu_level, 12);
AT(qdbg_ctx_options, seed, 16);
AT(qdbg_ctx_options, memory_limit, 24);
AT(qdbg_ctx_options, allocator, 32);
AT(qdbg_ctx_options, log, 40);
AT(qdbg_ctx_options, log_user, 48);
AT(qdbg_ctx_options, progress, 56);
AT(qdbg_ctx_options, progress_user, 64);
AT(qdbg_ctx_options, log_level, 72);
AT(qdbg_ctx_options, reserved, 76);

SIZE(qdbg_error_info, 40);
AT(qdbg_error_info, struct_size, 0);
AT(qdbg_error_info, status, 4);
AT(qdbg_error_info, callback_code, 8);
AT(qdbg_error_info, reserved, 12);
AT(qdbg_error_info, message, 16);
AT(qdbg_error_info, node, 24);
AT(qdbg_error_info, value, 32);

SIZE(qdbg_view, 88);
AT(qdbg_view, struct_size, 0);
AT(qdbg_view, dtype, 4);
AT(qdbg_view, rank, 8);
AT(qdbg_view, reserved, 12);
AT(qdbg_view, dims, 16);
AT(qdbg_view, data, 80);

SIZE(qdbg_quant_spec, 40);
AT(qdbg_quant_spec, struct_size, 0);
AT(qdbg_quant_spec, bits, 4);
AT(qdbg_quant_spec, symmetry, 8);
AT(qdbg_quant_spec, is_signed, 12);
AT(qdbg_quant_spec, granularity, 16);
AT(qdbg_quant_spec, axis, 20);
AT(qdbg_quant_spec, rounding, 24);
AT(qdbg_quant_spec, flags, 28);
AT(qdbg_quant_spec, block_size, 32);
AT(qdbg_quant_spec, block_scale_bits, 36);

SIZE(qdbg_encoding, 32);
AT(qdbg_encoding, struct_size, 0);
AT(qdbg_encoding, zero_point, 4);
AT(qdbg_encoding, scale, 8);
AT(qdbg_encoding, qmin, 12);
AT(qdbg_encoding, qmax, 16);
AT(qdbg_encoding, min, 20);
AT(qdbg_encoding, max, 24);
AT(qdbg_encoding, block_scale, 28);

SIZE(qdbg_range_options, 40);
AT(qdbg_range_options, struct_size, 0);
AT(qdbg_range_options, method, 4);
AT(qdbg_range_options, percentile, 8);
AT(qdbg_range_options, clip_weight, 16);
AT(qdbg_range_options, momentum, 24);
AT(qdbg_range_options, sigmas, 32);

SIZE(qdbg_observer_options, 24);
AT(qdbg_observer_options, struct_size, 0);
AT(qdbg_observer_options, collect, 4);
AT(qdbg_observer_options, n_channels, 8);
AT(qdbg_observer_options, reserved, 12);
AT(qdbg_observer_options, momentum, 16);

SIZE(qdbg_statistics, 56);
AT(qdbg_statistics, struct_size, 0);
AT(qdbg_statistics, n_channels, 4);
AT(qdbg_statistics, n, 8);
AT(qdbg_statistics, n_nan, 16);
AT(qdbg_statistics, n_inf, 24);
AT(qdbg_statistics, min, 32);
AT(qdbg_statistics, max, 36);
AT(qdbg_statistics, mean, 40);
AT(qdbg_statistics, variance, 48);

SIZE(qdbg_histogram, 24);
AT(qdbg_histogram, struct_size, 0);
AT(qdbg_histogram, n_bins, 4);
AT(qdbg_histogram, width, 8);
AT(qdbg_histogram, low, 16);

SIZE(qdbg_value_info, 96);
AT(qdbg_value_info, struct_size, 0);
AT(qdbg_value_info, dtype, 4);
AT(qdbg_value_info, rank, 8);
AT(qdbg_value_info, is_parameter, 12);
AT(qdbg_value_info, dims, 16);
AT(qdbg_value_info, name, 80);
AT(qdbg_value_info, producer, 88);
AT(qdbg_value_info, n_consumers, 92);

SIZE(qdbg_node_info, 48);
AT(qdbg_node_info, struct_size, 0);
AT(qdbg_node_info, n_inputs, 4);
AT(qdbg_node_info, n_outputs, 8);
AT(qdbg_node_info, is_known, 12);
AT(qdbg_node_info, name, 16);
AT(qdbg_node_info, op_type, 24);
AT(qdbg_node_info, inputs, 32);
AT(qdbg_node_info, outputs, 40);

SIZE(qdbg_host, 40);
AT(qdbg_host, struct_size, 0);
AT(qdbg_host, reserved, 4);
AT(qdbg_host, user, 8);
AT(qdbg_host, run, 16);
AT(qdbg_host, get_parameter, 24);
AT(qdbg_host, set_parameter, 32);

SIZE(qdbg_batch, 32);
AT(qdbg_batch, struct_size, 0);
AT(qdbg_batch, n_inputs, 4);
AT(qdbg_batch, inputs, 8);
AT(qdbg_batch, labels, 16);
AT(qdbg_batch, n_samples, 24);

SIZE(qdbg_dataset, 32);
AT(qdbg_dataset, struct_size, 0);
AT(qdbg_dataset, reserved, 4);
AT(qdbg_dataset, n_batches, 8);
AT(qdbg_dataset, user, 16);
AT(qdbg_dataset, batch, 24);

SIZE(qdbg_metric_input, 48);
AT(qdbg_metric_input, struct_size, 0);
AT(qdbg_metric_input, n_outputs, 4);
AT(qdbg_metric_input, outputs, 8);
AT(qdbg_metric_input, float_outputs, 16);
AT(qdbg_metric_input, labels, 24);
AT(qdbg_metric_input, first_sample, 32);
AT(qdbg_metric_input, n_samples, 40);

SIZE(qdbg_metric, 64);
AT(qdbg_metric, struct_size, 0);
AT(qdbg_metric, kind, 4);
AT(qdbg_metric, flags, 8);
AT(qdbg_metric, reserved, 12);
AT(qdbg_metric, name, 16);
AT(qdbg_metric, user, 24);
AT(qdbg_metric, state_size, 32);
AT(qdbg_metric, update, 40);
AT(qdbg_metric, result, 48);
AT(qdbg_metric, reference, 56);

SIZE(qdbg_rule_defaults, 56);
AT(qdbg_rule_defaults, struct_size, 0);
AT(qdbg_rule_defaults, output_quantized, 4);
AT(qdbg_rule_defaults, output_symmetric, 8);
AT(qdbg_rule_defaults, param_quantized, 12);
AT(qdbg_rule_defaults, param_symmetric, 16);
AT(qdbg_rule_defaults, strict_symmetric, 20);
AT(qdbg_rule_defaults, unsigned_symmetric, 24);
AT(qdbg_rule_defaults, per_channel, 28);
AT(qdbg_rule_defaults, model_input, 32);
AT(qdbg_rule_defaults, model_output, 36);
AT(qdbg_rule_defaults, activation_signed, 40);
AT(qdbg_rule_defaults, weight_signed, 44);
AT(qdbg_rule_defaults, rounding, 48);
AT(qdbg_rule_defaults, reserved, 52);

SIZE(qdbg_op_rule, 48);
AT(qdbg_op_rule, struct_size, 0);
AT(qdbg_op_rule, input_quantized, 4);
AT(qdbg_op_rule, output_quantized, 8);
AT(qdbg_op_rule, symmetric, 12);
AT(qdbg_op_rule, per_channel, 16);
AT(qdbg_op_rule, sharing, 20);
AT(qdbg_op_rule, has_range, 24);
AT(qdbg_op_rule, reserved, 28);
AT(qdbg_op_rule, min, 32);
AT(qdbg_op_rule, max, 40);

SIZE(qdbg_param_rule, 16);
AT(qdbg_param_rule, struct_size, 0);
AT(qdbg_param_rule, quantized, 4);
AT(qdbg_param_rule, symmetric, 8);
AT(qdbg_param_rule, reserved, 12);

SIZE(qdbg_sim_options, 48);
AT(qdbg_sim_options, struct_size, 0);
AT(qdbg_sim_options, weight_bits, 4);
AT(qdbg_sim_options, activation_bits, 8);
AT(qdbg_sim_options, weight_granularity, 12);
AT(qdbg_sim_options, rounding, 16);
AT(qdbg_sim_options, collect, 20);
AT(qdbg_sim_options, weight_range, 24);
AT(qdbg_sim_options, activation_range, 32);
AT(qdbg_sim_options, rules, 40);

SIZE(qdbg_quantizer_info, 152);
AT(qdbg_quantizer_info, struct_size, 0);
AT(qdbg_quantizer_info, kind, 4);
AT(qdbg_quantizer_info, value, 8);
AT(qdbg_quantizer_info, node, 12);
AT(qdbg_quantizer_info, name, 16);
AT(qdbg_quantizer_info, op_type, 24);
AT(qdbg_quantizer_info, enabled, 32);
AT(qdbg_quantizer_info, n_encodings, 36);
AT(qdbg_quantizer_info, spec, 40);
AT(qdbg_quantizer_info, observed_min, 80);
AT(qdbg_quantizer_info, observed_max, 84);
AT(qdbg_quantizer_info, n_nonfinite, 88);
AT(qdbg_quantizer_info, range, 96);
AT(qdbg_quantizer_info, group, 136);
AT(qdbg_quantizer_info, has_fixed_range, 140);
AT(qdbg_quantizer_info, from_input, 144);
AT(qdbg_quantizer_info, from_weight, 148);

SIZE(qdbg_absence_info, 24);
AT(qdbg_absence_info, struct_size, 0);
AT(qdbg_absence_info, reason, 4);
AT(qdbg_absence_info, quantizer, 8);
AT(qdbg_absence_info, node, 12);
AT(qdbg_absence_info, text, 16);

SIZE(qdbg_fold_options, 56);
AT(qdbg_fold_options, struct_size, 0);
AT(qdbg_fold_options, flags, 4);
AT(qdbg_fold_options, dead_threshold, 8);
AT(qdbg_fold_options, data, 16);
AT(qdbg_fold_options, guard_sim, 24);
AT(qdbg_fold_options, guard_calibration, 32);
AT(qdbg_fold_options, guard_dataset, 40);
AT(qdbg_fold_options, guard_metric, 48);

SIZE(qdbg_fold_row, 40);
AT(qdbg_fold_row, struct_size, 0);
AT(qdbg_fold_row, node, 4);
AT(qdbg_fold_row, layer, 8);
AT(qdbg_fold_row, outcome, 12);
AT(qdbg_fold_row, n_channels, 16);
AT(qdbg_fold_row, n_dead, 20);
AT(qdbg_fold_row, n_neutralized, 24);
AT(qdbg_fold_row, reserved, 28);
AT(qdbg_fold_row, dead_ratio, 32);

SIZE(qdbg_equalize_options, 56);
AT(qdbg_equalize_options, struct_size, 0);
AT(qdbg_equalize_options, formula, 4);
AT(qdbg_equalize_options, flags, 8);
AT(qdbg_equalize_options, max_sweeps, 12);
AT(qdbg_equalize_options, balance, 16);
AT(qdbg_equalize_options, calibration, 24);
AT(qdbg_equalize_options, guard_sim, 32);
AT(qdbg_equalize_options, guard_dataset, 40);
AT(qdbg_equalize_options, guard_metric, 48);

SIZE(qdbg_equalize_row, 80);
AT(qdbg_equalize_row, struct_size, 0);
AT(qdbg_equalize_row, value, 4);
AT(qdbg_equalize_row, producer, 8);
AT(qdbg_equalize_row, consumer, 12);
AT(qdbg_equalize_row, n_producers, 16);
AT(qdbg_equalize_row, n_consumers, 20);
AT(qdbg_equalize_row, n_channels, 24);
AT(qdbg_equalize_row, n_scaled, 28);
AT(qdbg_equalize_row, outcome, 32);
AT(qdbg_equalize_row, node, 36);
AT(qdbg_equalize_row, smallest, 40);
AT(qdbg_equalize_row, largest, 48);
AT(qdbg_equalize_row, before, 56);
AT(qdbg_equalize_row, after, 64);
AT(qdbg_equalize_row, gain_db, 72);

SIZE(qdbg_absorb_options, 56);
AT(qdbg_absorb_options, struct_size, 0);
AT(qdbg_absorb_options, n_stats, 4);
AT(qdbg_absorb_options, deviations, 8);
AT(qdbg_absorb_options, stats, 16);
AT(qdbg_absorb_options, calibration, 24);
AT(qdbg_absorb_options, guard_sim, 32);
AT(qdbg_absorb_options, guard_dataset, 40);
AT(qdbg_absorb_options, guard_metric, 48);

SIZE(qdbg_bias_options, 40);
AT(qdbg_bias_options, struct_size, 0);
AT(qdbg_bias_options, kind, 4);
AT(qdbg_bias_options, flags, 8);
AT(qdbg_bias_options, n_stats, 12);
AT(qdbg_bias_options, stats, 16);
AT(qdbg_bias_options, guard_dataset, 24);
AT(qdbg_bias_options, guard_metric, 32);

SIZE(qdbg_bias_row, 48);
AT(qdbg_bias_row, struct_size, 0);
AT(qdbg_bias_row, node, 4);
AT(qdbg_bias_row, weight, 8);
AT(qdbg_bias_row, bias, 12);
AT(qdbg_bias_row, quantizer, 16);
AT(qdbg_bias_row, outcome, 20);
AT(qdbg_bias_row, error_before, 24);
AT(qdbg_bias_row, error_after, 32);
AT(qdbg_bias_row, change, 40);

SIZE(qdbg_channel_stats, 32);
AT(qdbg_channel_stats, struct_size, 0);
AT(qdbg_channel_stats, value, 4);
AT(qdbg_channel_stats, n, 8);
AT(qdbg_channel_stats, mean, 16);
AT(qdbg_channel_stats, deviation, 24);

SIZE(qdbg_adaround_options, 72);
AT(qdbg_adaround_options, struct_size, 0);
AT(qdbg_adaround_options, solver, 4);
AT(qdbg_adaround_options, flags, 8);
AT(qdbg_adaround_options, positions, 12);
AT(qdbg_adaround_options, holdout, 16);
AT(qdbg_adaround_options, range_candidates, 20);
AT(qdbg_adaround_options, iterations, 24);
AT(qdbg_adaround_options, batch, 28);
AT(qdbg_adaround_options, damping, 32);
AT(qdbg_adaround_options, learning_rate, 40);
AT(qdbg_adaround_options, regularizer, 48);
AT(qdbg_adaround_options, guard_dataset, 56);
AT(qdbg_adaround_options, guard_metric, 64);

SIZE(qdbg_adaround_row, 168);
AT(qdbg_adaround_row, struct_size, 0);
AT(qdbg_adaround_row, node, 4);
AT(qdbg_adaround_row, weight, 8);
AT(qdbg_adaround_row, quantizer, 12);
AT(qdbg_adaround_row, solver, 16);
AT(qdbg_adaround_row, outcome, 20);
AT(qdbg_adaround_row, bits, 24);
AT(qdbg_adaround_row, bias, 28);
AT(qdbg_adaround_row, n_weights, 32);
AT(qdbg_adaround_row, n_moved, 40);
AT(qdbg_adaround_row, n_positions, 48);
AT(qdbg_adaround_row, n_held_out, 56);
AT(qdbg_adaround_row, n_nonfinite, 64);
AT(qdbg_adaround_row, loss_nearest, 72);
AT(qdbg_adaround_row, loss, 80);
AT(qdbg_adaround_row, held_nearest, 88);
AT(qdbg_adaround_row, held_loss, 96);
AT(qdbg_adaround_row, bias_change, 104);
AT(qdbg_adaround_row, activation, 112);
AT(qdbg_adaround_row, scales, 116);
AT(qdbg_adaround_row, n_kept, 120);
AT(qdbg_adaround_row, n_held_kept, 128);
AT(qdbg_adaround_row, act_nearest, 136);
AT(qdbg_adaround_row, act_loss, 144);
AT(qdbg_adaround_row, act_held_nearest, 152);
AT(qdbg_adaround_row, act_held_loss, 160);

SIZE(qdbg_sensitivity_row, 32);
AT(qdbg_sensitivity_row, struct_size, 0);
AT(qdbg_sensitivity_row, quantizer, 4);
AT(qdbg_sensitivity_row, score, 8);
AT(qdbg_sensitivity_row, sqnr_db, 16);
AT(qdbg_sensitivity_row, noise_share, 24);

SIZE(qdbg_diagnose_options, 48);
AT(qdbg_diagnose_options, struct_size, 0);
AT(qdbg_diagnose_options, flags, 4);
AT(qdbg_diagnose_options, calibration, 8);
AT(qdbg_diagnose_options, evaluation, 16);
AT(qdbg_diagnose_options, metric, 24);
AT(qdbg_diagnose_options, sim, 32);
AT(qdbg_diagnose_options, max_drop, 40);

SIZE(qdbg_step, 72);
AT(qdbg_step, struct_size, 0);
AT(qdbg_step, outcome, 4);
AT(qdbg_step, name, 8);
AT(qdbg_step, title, 16);
AT(qdbg_step, verdict, 24);
AT(qdbg_step, recommendation, 32);
AT(qdbg_step, score, 40);
AT(qdbg_step, drop, 48);
AT(qdbg_step, half_width, 56);
AT(qdbg_step, sqnr_db, 64);

SIZE(qdbg_finding, 120);
AT(qdbg_finding, struct_size, 0);
AT(qdbg_finding, kind, 4);
AT(qdbg_finding, name, 8);
AT(qdbg_finding, node, 16);
AT(qdbg_finding, op_type, 24);
AT(qdbg_finding, reason, 32);
AT(qdbg_finding, bits, 40);
AT(qdbg_finding, n_channels, 44);
AT(qdbg_finding, scale, 48);
AT(qdbg_finding, zero_point, 52);
AT(qdbg_finding, min, 56);
AT(qdbg_finding, max, 60);
AT(qdbg_finding, score_alone, 64);
AT(qdbg_finding, drop_alone, 72);
AT(qdbg_finding, output_sqnr_db, 80);
AT(qdbg_finding, noise_share, 88);
AT(qdbg_finding, local_sqnr_db, 96);
AT(qdbg_finding, channel_spread, 104);
AT(qdbg_finding, order, 112);
AT(qdbg_finding, culprit, 116);

SIZE(qdbg_summary, 112);
AT(qdbg_summary, struct_size, 0);
AT(qdbg_summary, n_steps, 4);
AT(qdbg_summary, n_findings, 8);
AT(qdbg_summary, n_folded, 12);
AT(qdbg_summary, samples, 16);
AT(qdbg_summary, calibration_samples, 24);
AT(qdbg_summary, float_score, 32);
AT(qdbg_summary, quantized_score, 40);
AT(qdbg_summary, max_drop, 48);
AT(qdbg_summary, weight_bits, 56);
AT(qdbg_summary, activation_bits, 60);
AT(qdbg_summary, weight_granularity, 64);
AT(qdbg_summary, rounding, 68);
AT(qdbg_summary, metric, 72);
AT(qdbg_summary, conclusion, 80);
AT(qdbg_summary, weight_range, 88);
AT(qdbg_summary, activation_range, 92);
AT(qdbg_summary, rules, 96);
AT(qdbg_summary, n_biases, 104);
AT(qdbg_summary, reserved, 108);

SIZE(qdbg_report_options, 32);
AT(qdbg_report_options, struct_size, 0);
AT(qdbg_report_options, n_seconds, 4);
AT(qdbg_report_options, model, 8);
AT(qdbg_report_options, seconds, 16);
AT(qdbg_report_options, text_rows, 24);
AT(qdbg_report_options, reserved, 28);

#endif

static int passed, failed;

static void check(const char *name, const void *macro, const void *function, size_t size)
{
    if (memcmp(macro, function, size) == 0) {
        passed++;
        return;
    }
    failed++;
    printf("FAILED %s: the macro and the function differ\n", name);
}

/* Bytes that the function does not set stay as they are and make the comparison fail. */
#define CHECK_INIT(type, macro)                                       \
    do {                                                              \
        const type from_macro = macro;                                \
        type from_function;                                           \
        memset(&from_function, 0xa5, sizeof from_function);           \
        type##_init(&from_function);                                  \
        type##_init(NULL);                                            \
        check(#type, &from_macro, &from_function, sizeof from_macro); \
    } while (0)

int main(void)
{
    CHECK_INIT(qdbg_ctx_options, QDBG_CTX_OPTIONS_INIT);
    CHECK_INIT(qdbg_dataset, QDBG_DATASET_INIT);
    CHECK_INIT(qdbg_diagnose_options, QDBG_DIAGNOSE_OPTIONS_INIT);
    CHECK_INIT(qdbg_encoding, QDBG_ENCODING_INIT);
    CHECK_INIT(qdbg_error_info, QDBG_ERROR_INFO_INIT);
    CHECK_INIT(qdbg_finding, QDBG_FINDING_INIT);
    CHECK_INIT(qdbg_host, QDBG_HOST_INIT);
    CHECK_INIT(qdbg_metric, QDBG_METRIC_INIT);
    CHECK_INIT(qdbg_node_info, QDBG_NODE_INFO_INIT);
    CHECK_INIT(qdbg_quantizer_info, QDBG_QUANTIZER_INFO_INIT);
    CHECK_INIT(qdbg_quant_spec, QDBG_QUANT_SPEC_INIT);
    CHECK_INIT(qdbg_report_options, QDBG_REPORT_OPTIONS_INIT);
    CHECK_INIT(qdbg_fold_options, QDBG_FOLD_OPTIONS_INIT);
    CHECK_INIT(qdbg_fold_row, QDBG_FOLD_ROW_INIT);
    CHECK_INIT(qdbg_equalize_options, QDBG_EQUALIZE_OPTIONS_INIT);
    CHECK_INIT(qdbg_equalize_row, QDBG_EQUALIZE_ROW_INIT);
    CHECK_INIT(qdbg_absorb_options, QDBG_ABSORB_OPTIONS_INIT);
    CHECK_INIT(qdbg_bias_options, QDBG_BIAS_OPTIONS_INIT);
    CHECK_INIT(qdbg_bias_row, QDBG_BIAS_ROW_INIT);
    CHECK_INIT(qdbg_channel_stats, QDBG_CHANNEL_STATS_INIT);
    CHECK_INIT(qdbg_adaround_options, QDBG_ADAROUND_OPTIONS_INIT);
    CHECK_INIT(qdbg_adaround_row, QDBG_ADAROUND_ROW_INIT);
    CHECK_INIT(qdbg_sensitivity_row, QDBG_SENSITIVITY_ROW_INIT);
    CHECK_INIT(qdbg_rule_defaults, QDBG_RULE_DEFAULTS_INIT);
    CHECK_INIT(qdbg_op_rule, QDBG_OP_RULE_INIT);
    CHECK_INIT(qdbg_param_rule, QDBG_PARAM_RULE_INIT);
    CHECK_INIT(qdbg_absence_info, QDBG_ABSENCE_INFO_INIT);
    CHECK_INIT(qdbg_sim_options, QDBG_SIM_OPTIONS_INIT);
    CHECK_INIT(qdbg_step, QDBG_STEP_INIT);
    CHECK_INIT(qdbg_summary, QDBG_SUMMARY_INIT);
    CHECK_INIT(qdbg_histogram, QDBG_HISTOGRAM_INIT);
    CHECK_INIT(qdbg_observer_options, QDBG_OBSERVER_OPTIONS_INIT);
    CHECK_INIT(qdbg_range_options, QDBG_RANGE_OPTIONS_INIT);
    CHECK_INIT(qdbg_statistics, QDBG_STATISTICS_INIT);
    CHECK_INIT(qdbg_value_info, QDBG_VALUE_INFO_INIT);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
