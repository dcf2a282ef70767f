#!/usr/bin/env python3
"""libqdebug from Python with ctypes: a network written in Python is diagnosed by the library.

usage: test_ffi.py LIBQDEBUG.so SOURCE_DIR

The graph, the engine that runs it, its data and its score are all here, in callbacks; the library
sees them through its C interface alone. Needs nothing but Python's standard library. Prints
"N passed, N failed"; exit status 1 when something failed.
"""

import ctypes
import json
import os
import random
import re
import sys
import threading
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_double, c_float, c_int32,
                    c_int64, c_size_t, c_uint32, c_uint64, c_void_p)

OK, E_CALLBACK, E_CANCELLED, E_HOST, E_INVALID = 0, -4, -5, -13, -1
F32, MAX_RANK, NONE, DIM_UNKNOWN = 1, 8, 0xFFFFFFFF, -1
TOP1, CUSTOM, REPORT_JSON = 1, 0, 2


# ---- the interface: structs and callbacks as the headers have them ----

class Struct(Structure):
    """A struct of the library's: its first field is its own size."""

    def __init__(self, **fields):
        super().__init__(**fields)
        self.struct_size = ctypes.sizeof(self)


class View(Struct):
    _fields_ = [("struct_size", c_uint32), ("dtype", c_int32), ("rank", c_uint32),
                ("reserved", c_uint32), ("dims", c_int64 * MAX_RANK), ("data", c_void_p)]


class Progress(Struct):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("stage", c_char_p),
                ("done", c_uint64), ("total", c_uint64)]


class Batch(Struct):
    _fields_ = [("struct_size", c_uint32), ("n_inputs", c_uint32), ("inputs", POINTER(View)),
                ("labels", POINTER(c_int64)), ("n_samples", c_uint64)]


class MetricInput(Struct):
    _fields_ = [("struct_size", c_uint32), ("n_outputs", c_uint32), ("outputs", POINTER(View)),
                ("float_outputs", POINTER(View)), ("labels", POINTER(c_int64)),
                ("first_sample", c_uint64), ("n_samples", c_uint64)]


LOG = CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
PROGRESS = CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))
BATCH = CFUNCTYPE(c_int32, c_void_p, c_uint64, POINTER(Batch))
UPDATE = CFUNCTYPE(c_int32, c_void_p, POINTER(c_double), POINTER(MetricInput))
RESULT = CFUNCTYPE(c_int32, c_void_p, POINTER(c_double), POINTER(c_double))
RUN = CFUNCTYPE(c_int32, c_void_p, c_void_p, POINTER(View), c_uint32)
PARAMETER = CFUNCTYPE(c_int32, c_void_p, c_uint32, POINTER(c_float), c_uint64)
WRITE = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t)


class CtxOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("threads", c_uint32),
                ("cpu_level", c_int32), ("seed", c_uint64), ("memory_limit", c_uint64),
                ("allocator", c_void_p), ("log", LOG), ("log_user", c_void_p),
                ("progress", PROGRESS), ("progress_user", c_void_p), ("log_level", c_int32),
                ("reserved", c_uint32)]


class ErrorInfo(Struct):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("callback_code", c_int32),
                ("reserved", c_uint32), ("message", c_char_p), ("node", c_char_p),
                ("value", c_char_p)]


class Host(Struct):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("user", c_void_p), ("run", RUN),
                ("get_parameter", PARAMETER), ("set_parameter", PARAMETER)]


class Dataset(Struct):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("n_batches", c_uint64),
                ("user", c_void_p), ("batch", BATCH)]


class Metric(Struct):
    _fields_ = [("struct_size", c_uint32), ("kind", c_int32), ("flags", c_uint32),
                ("reserved", c_uint32), ("name", c_char_p), ("user", c_void_p),
                ("state_size", c_uint64), ("update", UPDATE), ("result", RESULT),
                ("reference", c_void_p)]


class SimOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("weight_bits", c_uint32), ("activation_bits", c_uint32),
                ("weight_granularity", c_int32), ("rounding", c_int32), ("collect", c_uint32),
                ("weight_range", c_void_p), ("activation_range", c_void_p), ("rules", c_void_p)]


class DiagnoseOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("calibration", POINTER(Dataset)),
                ("evaluation", POINTER(Dataset)), ("metric", POINTER(Metric)), ("sim", POINTER(SimOptions)),
                ("max_drop", c_double)]


class Summary(Struct):
    _fields_ = [("struct_size", c_uint32), ("n_steps", c_uint32), ("n_findings", c_uint32),
                ("n_folded", c_uint32), ("samples", c_uint64), ("calibration_samples", c_uint64),
                ("float_score", c_double), ("quantized_score", c_double), ("max_drop", c_double),
                ("weight_bits", c_uint32), ("activation_bits", c_uint32),
                ("weight_granularity", c_int32), ("rounding", c_int32), ("metric", c_char_p),
                ("conclusion", c_char_p), ("weight_range", c_int32), ("activation_range", c_int32),
                ("rules", c_char_p), ("n_biases", c_uint32), ("reserved", c_uint32)]


def load(path):
    lib = ctypes.CDLL(path)
    lib.qdbg_version_string.restype = lib.qdbg_ctx_error_message.restype = c_char_p
    for name in ("ctx_error_message", "ctx_destroy", "graph_destroy", "model_destroy", "cancel",
                 "diagnosis_destroy", "graph_finish"):
        getattr(lib, "qdbg_" + name).argtypes = [c_void_p]
    lib.qdbg_graph_add_input.argtypes = lib.qdbg_graph_add_output.argtypes = [c_void_p, c_uint32]
    lib.qdbg_tap_wants.argtypes = [c_void_p, c_uint32]
    lib.qdbg_tap_value.argtypes = [c_void_p, c_uint32, POINTER(View)]
    return lib


def view(data, *dims):
    """A view of a ctypes array, which must stay alive."""
    return View(dtype=F32, rank=len(dims), dims=(c_int64 * MAX_RANK)(*dims),
                data=ctypes.cast(data, c_void_p))


def floats(values):
    return (c_float * len(values))(*values)


def elements(pointer, n):
    return ctypes.cast(pointer, POINTER(c_float))[:n]


# ---- a network with an engine of its own ----

INPUTS, HIDDEN, CLASSES, SAMPLES, PER_BATCH = 4, 8, 3, 24, 10


def matmul(x, w, bias, rows, inner, columns):
    return [sum(x[r * inner + i] * w[i * columns + c] for i in range(inner)) + bias[c]
            for r in range(rows) for c in range(columns)]


class Network:
    """y = relu(x w1 + b1) w2 + b2, in lists of Python numbers."""

    def __init__(self, seed=1):
        rng = random.Random(seed)

        def parameter(n):
            return list(floats([rng.gauss(0, 1) for _ in range(n)]))

        self.parameters = {"w1": parameter(INPUTS * HIDDEN), "b1": parameter(HIDDEN),
                           "w2": parameter(HIDDEN * CLASSES), "b2": parameter(CLASSES)}
        self.shapes = {"w1": (INPUTS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES),
                       "b2": (CLASSES,)}
        self.x = list(floats([rng.gauss(0, 1) for _ in range(SAMPLES * INPUTS)]))

    def forward(self, x, n, tap=lambda name, values, width: values):
        p = self.parameters
        x = tap("x", x, INPUTS)
        h = tap("h", matmul(x, p["w1"], p["b1"], n, INPUTS, HIDDEN), HIDDEN)
        a = tap("a", [max(v, 0.0) for v in h], HIDDEN)
        return tap("y", matmul(a, p["w2"], p["b2"], n, HIDDEN, CLASSES), CLASSES)

    def labels(self):
        y = self.forward(self.x, SAMPLES)
        rows = [y[i * CLASSES:(i + 1) * CLASSES] for i in range(SAMPLES)]
        return [row.index(max(row)) for row in rows]


class Session:
    """The library's objects around one network, and the callbacks that they call.

    An exception must not pass through C: `guard` keeps it, returns CODE in its place, and `check`
    raises it again on this side.
    """

    CODE = 77

    def __init__(self, lib, network, **ctx_options):
        self.lib, self.network, self.error = lib, network, None
        self.alive = []  # what the library holds a pointer to
        self.stages = []
        self.values = {}
        self.ctx, self.graph, self.model = c_void_p(), c_void_p(), c_void_p()
        self.diagnosis = c_void_p()
        options = CtxOptions(threads=1, progress=self.keep(PROGRESS(self.on_progress)),
                             **ctx_options)
        self.check(lib.qdbg_ctx_create(byref(options), byref(self.ctx)))
        self.build_graph()
        host = Host(run=self.keep(RUN(self.guard("run"))),
                    get_parameter=self.keep(PARAMETER(self.guard("get_parameter"))),
                    set_parameter=self.keep(PARAMETER(self.guard("set_parameter"))))
        self.check(lib.qdbg_model_create_host(self.graph, byref(host), byref(self.model)))

    def close(self):
        self.lib.qdbg_diagnosis_destroy(self.diagnosis)
        self.lib.qdbg_model_destroy(self.model)
        self.lib.qdbg_graph_destroy(self.graph)
        self.lib.qdbg_ctx_destroy(self.ctx)

    def keep(self, thing):
        self.alive.append(thing)
        return thing

    def guard(self, method):
        """A callback that calls the session's method of that name."""
        def call(*args):
            try:
                getattr(self, method)(*args)
                return 0
            except Exception as e:  # pylint: disable=broad-except
                self.error = e
                return self.CODE
        return call

    def check(self, status):
        if self.error:
            error, self.error = self.error, None
            raise error
        if status != OK:
            raise RuntimeError(f"{status}: {self.lib.qdbg_ctx_error_message(self.ctx).decode()}")

    # -- the graph --

    def add_value(self, name, width):
        number = c_uint32()
        self.check(self.lib.qdbg_graph_add_value(
            self.graph, name.encode(), F32, 2, (c_int64 * 2)(DIM_UNKNOWN, width), byref(number)))
        self.values[name] = number.value

    def add_parameter(self, name):
        number, data = c_uint32(), floats(self.network.parameters[name])
        self.check(self.lib.qdbg_graph_add_parameter(
            self.graph, name.encode(), byref(view(data, *self.network.shapes[name])),
            byref(number)))
        self.values[name] = number.value

    def add_node(self, op, inputs, output):
        numbers = (c_uint32 * len(inputs))(*(self.values[i] for i in inputs))
        self.check(self.lib.qdbg_graph_add_node(
            self.graph, op.encode(), None, numbers, len(inputs),
            (c_uint32 * 1)(self.values[output]), 1, None))

    def build_graph(self):
        self.check(self.lib.qdbg_graph_create(self.ctx, 13, byref(self.graph)))
        for name, width in (("x", INPUTS), ("h", HIDDEN), ("a", HIDDEN), ("y", CLASSES)):
            self.add_value(name, width)
        for name in self.network.parameters:
            self.add_parameter(name)
        self.add_node("Gemm", ("x", "w1", "b1"), "h")
        self.add_node("Relu", ("h",), "a")
        self.add_node("Gemm", ("a", "w2", "b2"), "y")
        self.check(self.lib.qdbg_graph_add_input(self.graph, self.values["x"]))
        self.check(self.lib.qdbg_graph_add_output(self.graph, self.values["y"]))
        self.check(self.lib.qdbg_graph_finish(self.graph))

    # -- callbacks --

    def on_progress(self, _, progress):
        stage = progress.contents.stage.decode()
        if stage not in self.stages:
            self.stages.append(stage)
        return 0

    def run(self, _, tap, inputs, n_inputs):
        assert n_inputs == 1
        n = inputs[0].dims[0]

        def hand_over(name, values, width):
            number = self.values[name]
            if not self.lib.qdbg_tap_wants(tap, number):
                return values
            data = floats(values)
            if self.lib.qdbg_tap_value(tap, number, byref(view(data, n, width))) != OK:
                raise RuntimeError(f"tap {name}")
            return list(data)

        self.network.forward(elements(inputs[0].data, n * INPUTS), n, hand_over)

    def find(self, number):
        return next(k for k, v in self.values.items() if v == number)

    def get_parameter(self, _, number, data, count):
        values = self.network.parameters[self.find(number)]
        assert len(values) == count
        ctypes.memmove(data, floats(values), 4 * count)

    def set_parameter(self, _, number, data, count):
        self.network.parameters[self.find(number)] = data[:count]

    def give_batch(self, _, index, batch):
        first = index * PER_BATCH
        n = min(PER_BATCH, SAMPLES - first)
        data = floats(self.network.x[first * INPUTS:(first + n) * INPUTS])
        self.batch = (data, (View * 1)(view(data, n, INPUTS)),
                      (c_int64 * n)(*self.true_labels[first:first + n]))
        batch.contents.n_inputs = 1
        batch.contents.inputs = self.batch[1]
        batch.contents.labels = self.batch[2]
        batch.contents.n_samples = n

    def update(self, _, state, metric_input):
        """Count correct samples: state is (correct, seen)."""
        m = metric_input.contents
        y = elements(m.outputs[0].data, m.n_samples * CLASSES)
        for i in range(m.n_samples):
            row = y[i * CLASSES:(i + 1) * CLASSES]
            state[0] += row.index(max(row)) == m.labels[i]
            state[1] += 1

    def result(self, _, state, score):
        score[0] = state[0] / state[1]

    def write(self, _, data, size):
        self.pieces.append(ctypes.string_at(data, size))

    # -- the diagnosis --

    def dataset(self):
        self.true_labels = self.network.labels()
        return self.keep(Dataset(n_batches=(SAMPLES + PER_BATCH - 1) // PER_BATCH,
                                 batch=self.keep(BATCH(self.guard("give_batch")))))

    def own_metric(self):
        return self.keep(Metric(kind=CUSTOM, name=b"hits", state_size=16,
                                update=self.keep(UPDATE(self.guard("update"))),
                                result=self.keep(RESULT(self.guard("result")))))

    def diagnose(self, metric, bits=8):
        data = self.dataset()
        sim = SimOptions(weight_bits=bits, activation_bits=bits)
        options = DiagnoseOptions(calibration=ctypes.pointer(data),
                                  evaluation=ctypes.pointer(data), metric=ctypes.pointer(metric),
                                  sim=ctypes.pointer(sim))
        return self.lib.qdbg_diagnose(self.model, byref(options), byref(self.diagnosis))

    def summary(self):
        summary = Summary()
        self.check(self.lib.qdbg_diagnosis_summary(self.diagnosis, byref(summary)))
        return summary

    def json(self):
        self.pieces = []
        self.check(self.lib.qdbg_report_write(self.ctx, self.diagnosis, REPORT_JSON, None,
                                              WRITE(self.guard("write")), None))
        return json.loads(b"".join(self.pieces))


# ---- the facts ----

def test_diagnosis(lib):
    """A host model, data and a score in Python give a whole diagnosis."""
    s = Session(lib, Network())
    before = {k: list(v) for k, v in s.network.parameters.items()}
    s.check(s.diagnose(s.own_metric()))
    summary, report = s.summary(), s.json()
    assert summary.metric == b"hits" and summary.samples == SAMPLES
    assert summary.float_score == 1.0, summary.float_score
    assert 0.5 < summary.quantized_score <= 1.0, summary.quantized_score
    assert [q["name"] for q in report["quantizers"]], "quantizers are listed"
    assert {q["name"] for q in report["quantizers"]} == {"w1", "w2", "x", "a", "y"}, report
    assert s.network.parameters == before, "the parameters are as they were"
    assert s.stages == ["float32", "calibrate", "quantized", "weights", "activations",
                        "quantizers"], s.stages
    s.close()


def test_metrics_agree(lib):
    """The score counted in Python is the built-in top-1."""
    scores = []
    for own in (True, False):
        s = Session(lib, Network())
        s.check(s.diagnose(s.own_metric() if own else Metric(kind=TOP1), bits=2))
        report = s.json()
        scores.append([report["quantized_score"]] +
                      [q["score_alone"] for q in report["quantizers"]])
        s.close()
    assert scores[0] == scores[1], scores
    assert min(scores[0]) < 1, "two bits lose something"


def test_exception(lib):
    """An exception in any callback comes out where the library was called."""
    def fail(*_):
        raise ZeroDivisionError("on purpose")

    for name in ("run", "get_parameter", "set_parameter", "give_batch", "update", "result"):
        s = Session(lib, Network())
        setattr(s, name, fail)
        status = s.diagnose(s.own_metric())
        info = ErrorInfo()
        assert lib.qdbg_ctx_error(s.ctx, byref(info)) == OK
        assert (status, info.callback_code) == (E_CALLBACK, Session.CODE), (name, status)
        assert info.message, "there is a message"
        assert not s.diagnosis, "nothing is left to free"
        try:
            s.check(status)
            raise AssertionError(f"{name}: no exception")
        except ZeroDivisionError:
            pass
        s.close()


def test_goes_on_after_failure(lib):
    """After a failed call the same objects give a whole diagnosis."""
    s = Session(lib, Network())

    def fail(*_):
        raise ValueError("on purpose")

    s.run = fail
    assert s.diagnose(s.own_metric()) == E_CALLBACK
    del s.run
    s.error = None
    s.check(s.diagnose(s.own_metric()))
    assert s.summary().float_score == 1.0
    s.close()


def test_cancel_from_another_thread(lib):
    """qdbg_cancel() from a second thread ends the call with its own status."""
    s = Session(lib, Network())

    def cancel_and_run(*args):
        thread = threading.Thread(target=lib.qdbg_cancel, args=(s.ctx,))
        thread.start()
        thread.join()
        Session.run(s, *args)

    s.run = cancel_and_run
    assert s.diagnose(s.own_metric()) == E_CANCELLED
    assert s.error is None
    s.close()


def test_broken_rule(lib):
    """A host that hands over nothing is told which rule it broke."""
    s = Session(lib, Network())
    s.run = lambda *args: None
    assert s.diagnose(s.own_metric()) == E_HOST
    assert lib.qdbg_ctx_error_message(s.ctx)
    s.close()


def test_old_struct(lib):
    """A struct of another size is refused, not read beyond its end."""
    options = CtxOptions()
    options.struct_size -= 4
    ctx = c_void_p()
    assert lib.qdbg_ctx_create(byref(options), byref(ctx)) == E_INVALID
    assert not ctx


def test_readme(_):
    """The README's Python example prints what it says. (Its library is the one loaded here.)"""
    with open(os.path.join(sys.argv[2], "README.md"), encoding="utf-8") as f:
        block = re.search(r"^```python\n(.*?)^```", f.read(), flags=re.M | re.S).group(1)
    printed = []
    exec(block, {"print": printed.append})  # pylint: disable=exec-used
    promised = re.search(r"^print\(.*\)  # (.*)$", block, flags=re.M).group(1)
    assert [str(p) for p in printed] == [promised], printed


def main():
    if len(sys.argv) != 3:
        print("usage: test_ffi.py LIBQDEBUG.so SOURCE_DIR", file=sys.stderr)
        return 2
    lib = load(sys.argv[1])
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test(lib)
            passed += 1
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED {name}: {type(e).__name__}: {e}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
