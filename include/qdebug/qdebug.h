/**
 * @file qdebug.h
 * All of libqdebug. (libqdebug-onnx has its own header: qdebug/onnx.h.)
 */
#ifndef QDEBUG_QDEBUG_H
#define QDEBUG_QDEBUG_H

#include <qdebug/base.h>
#include <qdebug/tensor.h>
#include <qdebug/quantizer.h>
#include <qdebug/range.h>
#include <qdebug/graph.h>
#include <qdebug/model.h>
#include <qdebug/rules.h>
#include <qdebug/simulation.h>
#include <qdebug/fold.h>
#include <qdebug/equalize.h>
#include <qdebug/bias_correction.h>
#include <qdebug/adaround.h>
#include <qdebug/sensitivity.h>
#include <qdebug/diagnose.h>
#include <qdebug/report.h>

#endif
