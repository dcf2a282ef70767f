#!/usr/bin/env python3
"""qdebug-diagnose from end to end: what it writes, what it refuses, and in which words.

usage: test_program.py PROGRAM SOURCE_DIR

Runs the program on the demo model with made-up images, and on broken files of every kind. Needs
nothing but Python's standard library. Prints "N passed, N failed, N skipped"; exit status 1 when
something failed.
"""

import csv
import json
import os
import pty
import random
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time

MODEL = "doc/examples/fashion_mnist.onnx"
IMAGE = 28 * 28
TIMEOUT = 300

CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "u8": "Q", "i8": "q",
         "f2": "e", "f4": "f", "f8": "d", "b1": "?"}


def npy(dtype, shape, values, version=1, order="False", descr=None):
    """The bytes of a .npy file."""
    text = f"{{'descr': '{descr or '<' + dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"
    start = 10 if version == 1 else 12
    text += " " * (-(start + len(text) + 1) % 64) + "\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + \
        struct.pack(f"<{len(values)}{CODES[dtype]}", *values)


def images(n, seed=1):
    """Values 0..255 of n images: a bright box on a noisy ground, so that classes differ."""
    rng = random.Random(seed)
    values = []
    for _ in range(n):
        left, top = rng.randrange(20), rng.randrange(20)
        width, height = rng.randrange(3, 28 - left), rng.randrange(3, 28 - top)
        level = rng.randrange(80, 230)
        for y in range(28):
            for x in range(28):
                inside = left <= x < left + width and top <= y < top + height
                values.append((level if inside else 0) + rng.randrange(25))
    return values


# ---- small ONNX models, field by field ----

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """An integer, or bytes, or text as a protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def value_info(name, dtype, dims):
    """An input or output; a dimension is a number or a name."""
    shape = b"".join(field(1, field(2 if isinstance(d, str) else 1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, dtype) + field(2, shape)))


def node(op, inputs, output):
    return b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, op)


def weight(name, dims, seed=5):
    """A float32 tensor of random elements."""
    rng = random.Random(seed)
    count = 1
    for d in dims:
        count *= d
    raw = struct.pack(f"<{count}f", *(rng.uniform(-1, 1) for _ in range(count)))
    return b"".join(field(1, d) for d in dims) + field(2, 1) + field(8, name) + field(9, raw)


def onnx(nodes, weights, inputs, outputs):
    graph = b"".join(field(1, n) for n in nodes) + field(2, "g")
    graph += b"".join(field(5, w) for w in weights)
    graph += b"".join(field(11, v) for v in inputs) + b"".join(field(12, v) for v in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


F32, I64 = 1, 7


class Failure(Exception):
    """A fact does not hold; the text says which."""


class Skip(Exception):
    """The machine lacks what the test needs; the text says what."""


def expect(holds, text):
    if not holds:
        raise Failure(text)


class Tests:
    def __init__(self, program, source, folder):
        self.program = os.path.abspath(program)
        self.model = os.path.join(os.path.abspath(source), MODEL)
        self.folder = folder
        with open(self.model, "rb") as f:
            self.model_bytes = f.read()
        self.values = images(20)
        self.write("x.npy", npy("u1", (20, 1, 28, 28), self.values))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return name

    def start(self, *args, **kwargs):
        return subprocess.Popen([self.program, *args], cwd=self.folder, encoding="utf-8",
                                errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                **{"stderr": subprocess.PIPE, **kwargs})

    def run(self, *args):
        p = self.start(*args)
        out, err = p.communicate(timeout=TIMEOUT)
        return p.returncode, out, err

    def diagnose(self, *args, inputs="x.npy", model=None):
        """Run a diagnosis that must succeed; return its JSON report."""
        code, _, err = self.run(model or self.model, "--inputs", inputs, "--json", "r.json", "--quiet", *args)
        expect(code == 0 and err == "", f"exit {code}: {err}")
        with open(self.path("r.json"), encoding="utf-8") as f:
            return json.load(f)

    def refuse(self, expected, *args, code=2):
        """Run must fail with exactly the line `expected` (a string or a pattern) on stderr."""
        got, out, err = self.run(*args)
        expect(got == code, f"{args}: exit {got}, not {code}: {err}")
        expect(out == "", f"{args}: standard output: {out}")
        expect(err.endswith("\n") and err.count("\n") == 1, f"{args}: not one line: {err!r}")
        line = err[:-1]
        start = "qdebug-diagnose: "
        expect(line.startswith(start), f"{args}: {line!r}")
        line = line[len(start):]
        same = expected.fullmatch(line) if isinstance(expected, re.Pattern) else line == expected
        expect(same, f"{args}: {line!r}, not {expected!r}")

    def refuse_input(self, expected, data):
        self.write("bad.npy", data)
        self.refuse(f"bad.npy: {expected}", self.model, "--inputs", "bad.npy")


def without_seconds(report):
    for step in report["steps"]:
        del step["seconds"]
    return report


# ---- what a diagnosis writes ----

def test_text_report(t):
    """The text goes to stdout with time and memory at the end, the stages to stderr, each once."""
    code, out, err = t.run(t.model, "--inputs", "x.npy")
    expect(code == 0, f"exit {code}: {err}")
    expect("fashion_mnist.onnx" in out, "the report names the model")
    last = out.rstrip("\n").split("\n")[-1]
    expect(re.fullmatch(r"time \d+\.\d s, peak memory \d+ MiB", last), f"last line: {last!r}")
    stages = [line.split()[0] for line in err.splitlines()]
    expect(stages == ["float32", "calibrate", "quantized", "weights", "activations", "quantizers"],
           f"stages: {stages}")
    expect("\r" not in err and "\033" not in err, "no terminal codes elsewhere")


def test_quiet(t):
    """--quiet says nothing, and files are written all the same."""
    code, out, err = t.run(t.model, "--inputs", "x.npy", "--quiet", "--csv", "q.csv")
    expect((code, out, err) == (0, "", ""), f"{code} {out!r} {err!r}")
    expect(os.path.getsize(t.path("q.csv")) > 0, "the file is there")


def test_json_fields(t):
    """The JSON has the fields that are promised, and they agree with one another."""
    t.write("y.npy", npy("i8", (20,), [i % 10 for i in range(20)]))
    r = t.diagnose("--labels", "y.npy", "--mean", "72.94", "--std", "90.02", "--limit", "16")
    promised = {"schema_version", "library_version", "model", "samples", "calibration_samples",
                "metric", "float_score", "quantized_score", "max_drop", "weight_bits",
                "activation_bits", "per_channel", "rounding", "weight_range",
                "activation_range", "rules", "int32_biases", "batch_norms_folded", "conclusion",
                "steps", "quantizers"}
    expect(promised <= set(r), f"missing: {promised - set(r)}")
    expect(r["model"] == "fashion_mnist.onnx", r["model"])
    expect((r["samples"], r["calibration_samples"]) == (16, 16), "the limit counts")
    expect(r["metric"] == "top-1", r["metric"])
    expect((r["weight_bits"], r["activation_bits"], r["per_channel"]) == (8, 8, False), "target")
    expect(0 <= r["float_score"] <= 1 and 0 <= r["quantized_score"] <= 1, "scores are shares")
    names = [s["name"] for s in r["steps"]]
    expect(names == ["float32", "quantized", "weights", "activations", "quantizers", "conclusion"],
           f"steps: {names}")
    step = {"name", "title", "outcome", "verdict", "recommendation", "score", "drop", "half_width",
            "output_sqnr_db", "seconds"}
    expect(all(step <= set(s) for s in r["steps"]), "fields of a step")
    expect(all(s["verdict"] for s in r["steps"]), "every step has a verdict")
    expect(all(s["seconds"] >= 0 for s in r["steps"]), "every step has its time")
    expect(r["steps"][0]["score"] == r["float_score"], "the float score is the first step's")
    quantizer = {"name", "kind", "node", "op_type", "bits", "channels", "scale", "zero_point", "min",
                 "max", "score_alone", "drop_alone", "output_sqnr_db", "noise_share",
                 "local_sqnr_db", "channel_spread", "culprit", "reason"}
    expect(r["quantizers"] and all(quantizer <= set(q) for q in r["quantizers"]), "quantizers")
    expect({q["kind"] for q in r["quantizers"]} == {"weight", "activation"}, "both kinds")
    share = sum(q["noise_share"] or 0 for q in r["quantizers"])
    expect(abs(share - 1) < 1e-6, f"noise shares add up to {share}")


def test_csv_and_html(t):
    """CSV has a line for each quantizer of the JSON; the HTML is one page without links outside."""
    r = t.diagnose("--csv", "r.csv", "--html", "r.html")
    with open(t.path("r.csv"), newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    expect([row["name"] for row in rows] == [q["name"] for q in r["quantizers"]], "CSV and JSON")
    with open(t.path("r.html"), encoding="utf-8") as f:
        page = f.read()
    expect(page.lower().startswith("<!doctype html>") and "</html>" in page, "a whole page")
    expect(r["quantizers"][0]["name"] in page, "the page names the worst quantizer")
    outside = re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//[^"'\s>]*|@import|url\(\s*["']?http""",
                         page)
    expect(not outside, f"the page loads {outside}")


def test_agreement(t):
    """Without labels float32 agrees with itself, and per-channel weights agree more."""
    norm = ("--mean", "72.94", "--std", "90.02")
    tensor = t.diagnose(*norm)
    channel = t.diagnose("--per-channel", *norm)
    expect(tensor["float_score"] == 1, tensor["float_score"])
    expect(channel["per_channel"] is True, "the report says per channel")
    expect(channel["quantized_score"] > tensor["quantized_score"],
           f"{channel['quantized_score']} and {tensor['quantized_score']}")
    worst = tensor["quantizers"][0]
    expect(worst["culprit"] and worst["kind"] == "weight", f"worst: {worst}")


def test_float_target(t):
    """32 bits leave the model alone: nothing is lost."""
    r = t.diagnose("--weights", "32", "--activations", "32")
    expect(r["quantized_score"] == 1, r["quantized_score"])


def test_range_methods(t):
    """Ranges follow the option, and the report tells."""
    plain = t.diagnose()
    expect((plain["weight_range"], plain["activation_range"]) == ("min-max", "min-max"), "defaults")
    for weights, activations in (("mse", "percentile=99"), ("sqnr", "moving-average")):
        r = t.diagnose("--weight-range", weights, "--activation-range", activations)
        expect(r["weight_range"].lower() == weights, r["weight_range"])
        expect(r["activation_range"] == activations.split("=")[0].replace("-", " "),
               r["activation_range"])
        expect([f["drop_alone"] for f in r["quantizers"]] !=
               [f["drop_alone"] for f in plain["quantizers"]], f"{weights}: nothing changes")


def test_threads(t):
    """The report is the same on any number of threads, its times aside."""
    one = without_seconds(t.diagnose("--threads", "1"))
    four = without_seconds(t.diagnose("--threads", "4"))
    expect(one == four, "reports differ")


def test_calibration_file(t):
    """Calibration samples are those of the file, all of them."""
    t.write("c.npy", npy("u1", (7, 28, 28), images(7, seed=2)))
    expect(t.diagnose("--calibration", "c.npy", "--limit", "3")["calibration_samples"] == 7, "7")


def test_rules(t):
    """--rules takes a preset or a file that says the same, and the report follows it."""
    norm = ("--mean", "72.94", "--std", "90.02")
    preset = t.diagnose("--rules", "tflite", *norm)
    expect({q["kind"] for q in preset["quantizers"]} == {"weight", "activation", "bias"}, "kinds")
    expect(preset["per_channel"] is True and preset["rounding"] == "nearest-away", preset["rounding"])
    expect({q["bits"] for q in preset["quantizers"] if q["kind"] == "bias"} == {32}, "int32 biases")
    default = t.diagnose(*norm)
    expect(without_seconds(t.diagnose("--rules", "default", *norm)) == without_seconds(default), "default")
    rules = {"defaults": {"ops": {"is_output_quantized": "True"}, "params": {"is_quantized": "False"}}}
    t.write("acts.json", json.dumps(rules).encode())
    acts = t.diagnose("--rules", "acts.json", *norm)
    expect({q["kind"] for q in acts["quantizers"]} == {"activation"}, "activations only")
    expect("input" not in {q["name"] for q in acts["quantizers"]}, "no model input")


def test_rules_refused(t):
    x = (t.model, "--inputs", "x.npy")
    t.refuse("--rules: there is no preset 'frob', only default, per_channel, onnxruntime, tflite and empty", *x,
             "--rules", "frob")
    t.refuse("cannot open 'none.json': no such file", *x, "--rules", "none.json")
    t.write("bad.json", b'{"op_type": {"Conv": {"is_output_quantised": "True"}}}')
    t.refuse("bad.json: configuration: op_type.Conv.is_output_quantised: unknown key", *x, "--rules", "bad.json")
    t.write("cut.json", b'{"op_type": ')
    t.refuse(re.compile(r"cut\.json: configuration: line 1, column 12: .*"), *x, "--rules", "cut.json")
    t.refuse("cannot open 'nofile.json': no such file", *x, "--rules", "nofile.json")
    t.write("none.json", b"{}")
    t.refuse(re.compile(r".*fashion_mnist\.onnx: the rules place no quantizer"), *x, "--rules", "none.json")
    t.refuse("bad.json: is an input; it will not be written over", *x, "--rules", "bad.json", "--json", "bad.json")


def test_list_quantizers(t):
    """The table needs no data, has a line for each value, and agrees with the diagnosis."""
    code, out, err = t.run(t.model, "--list-quantizers", "--rules", "tflite")
    expect(code == 0 and err == "", f"exit {code}: {err}")
    head, *lines, constants, totals = out.splitlines()
    expect(head.split()[:4] == ["name", "op", "quantizer", "grid"], head)
    listed = {line.split()[0]: line.split()[2] for line in lines}
    expect(len(listed) == len(lines), "each value once")
    found = {q["name"]: q["kind"] for q in t.diagnose("--rules", "tflite")["quantizers"]}
    expect({k: v for k, v in listed.items() if v != "-"} == found, "quantizers differ from the report's")
    row = {line.split()[0]: line for line in lines}
    kinds = list(found.values())
    expect(totals == f"{kinds.count('weight')} weights, {kinds.count('activation')} activations, "
                     f"{kinds.count('bias')} biases; {len(lines) - len(kinds)} values without", totals)
    expect(re.fullmatch(r"\d+ constants that no rule speaks of", constants), constants)
    expect("running_mean" not in out and "Constant" not in out, "constants have no line")
    weight = next(name for name, kind in found.items() if kind == "weight")
    expect("int8 strict symmetric" in row[weight] and "scales" in row[weight], row[weight])
    biases = [row[name] for name, kind in found.items() if kind == "bias"]
    expect(biases and all("int32 symmetric" in b and " times '" in b for b in biases), f"{biases}")
    absent = [line for line in lines if line.split()[2] == "-"]
    expect(any("fused into '" in line for line in absent), "fused ones say so")
    expect(all(len(line.split(None, 4)) == 5 for line in absent), "each absence has a reason")
    code, out, _ = t.run(t.model, "--list-quantizers", "--weights", "4", "--activations", "32")
    expect(code == 0 and "int4 symmetric" in out and "float32" in out, "bits are followed")
    t.refuse("no model given; try --help", "--list-quantizers")


def test_help_and_version(t):
    code, out, err = t.run("--help")
    expect(code == 0 and err == "" and out.startswith("usage: qdebug-diagnose"), out)
    expect(all(len(line) <= 80 for line in out.splitlines()), "help fits 80 columns")
    for option in ("inputs labels calibration limit nhwc mean std weights activations per-channel "
                   "weight-range activation-range max-drop rules list-quantizers html json csv quiet "
                   "threads").split():
        expect("--" + option in out, f"--help tells of --{option}")
    code, out, err = t.run("--version")
    expect(code == 0 and err == "" and re.fullmatch(r"qdebug-diagnose \d+\.\d+\.\d+\n", out), out)


# ---- the same images in other clothes ----

def test_types(t):
    """The same numbers give the same report in every type, version and order of bytes."""
    shape, v = (20, 1, 28, 28), [x // 2 for x in t.values]
    t.write("u1.npy", npy("u1", shape, v))
    wanted = without_seconds(t.diagnose(inputs="u1.npy"))
    for dtype in ("i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"):
        name = t.write(f"{dtype}.npy", npy(dtype, shape, v))
        expect(without_seconds(t.diagnose(inputs=name)) == wanted, f"{dtype} differs from u1")
    for version in (2, 3):
        name = t.write("v.npy", npy("u1", shape, v, version=version))
        expect(without_seconds(t.diagnose(inputs=name)) == wanted, f"version {version} differs")
    bits = [x > 128 for x in t.values]
    t.write("b1.npy", npy("b1", shape, bits, descr="|b1"))
    t.write("bits.npy", npy("u1", shape, [int(b) for b in bits]))
    expect(without_seconds(t.diagnose(inputs="b1.npy")) ==
           without_seconds(t.diagnose(inputs="bits.npy")), "bools are 0 and 1")


def test_shapes(t):
    """Ones may be missing and neighbours merged or split; the numbers are the same."""
    wanted = without_seconds(t.diagnose())
    for shape in ((20, 28, 28), (20, 784), (20, 1, 784), (20, 28, 28, 1), (20, 4, 7, 28)):
        name = t.write("s.npy", npy("u1", shape, t.values))
        expect(without_seconds(t.diagnose(inputs=name)) == wanted, f"{shape} differs")


def test_nhwc(t):
    """--nhwc takes [N,H,W,1] for [N,1,H,W]. (Three channels: test_channels.)"""
    name = t.write("s.npy", npy("u1", (20, 28, 28, 1), t.values))
    expect(without_seconds(t.diagnose("--nhwc", inputs=name)) ==
           without_seconds(t.diagnose()), "one channel in either order")


def test_mean_and_std(t):
    """(x - mean) / std in float32, where the arithmetic is exact."""
    t.write("n.npy", npy("f4", (20, 1, 28, 28), [(x - 64) / 32 for x in t.values]))
    expect(without_seconds(t.diagnose("--mean", "64", "--std", "32")) ==
           without_seconds(t.diagnose(inputs="n.npy")), "normalized here and there")
    expect(without_seconds(t.diagnose("--mean", "64")) !=
           without_seconds(t.diagnose()), "the mean counts")


# ---- other models ----

def test_channels(t):
    """Three channels: --nhwc brings them forward; mean and std are one for all or one for each."""
    t.write("m.onnx", onnx([node("Flatten", ["x"], "f"), node("Gemm", ["f", "w"], "y")],
                           [weight("w", (60, 4))], [value_info("x", F32, ["N", 3, 4, 5])],
                           [value_info("y", F32, ["N", 4])]))
    rng = random.Random(6)
    nchw = [rng.randrange(256) for _ in range(10 * 60)]
    nhwc = [nchw[n * 60 + c * 20 + p] for n in range(10) for p in range(20) for c in range(3)]
    mean, std = (32, 64, 128), (2, 4, 8)
    normal = [(x - mean[i // 20 % 3]) / std[i // 20 % 3] for i, x in enumerate(nchw)]
    t.write("nchw.npy", npy("u1", (10, 3, 4, 5), nchw))
    t.write("nhwc.npy", npy("u1", (10, 4, 5, 3), nhwc))
    t.write("nhwc_i4.npy", npy("i4", (10, 4, 5, 3), nhwc))
    t.write("normal.npy", npy("f4", (10, 3, 4, 5), normal))

    def report(inputs, *args):
        return without_seconds(t.diagnose(*args, inputs=inputs, model="m.onnx"))

    wanted = report("normal.npy")
    lists = ("--mean", "32,64,128", "--std", "2,4,8")
    expect(report("nchw.npy", *lists) == wanted, "lists for [N,C,H,W]")
    expect(report("nhwc.npy", "--nhwc", *lists) == wanted, "lists for [N,H,W,C]")
    expect(report("nhwc_i4.npy", "--nhwc", *lists) == wanted, "elements of four bytes")
    expect(report("nchw.npy", "--mean", "64") == report("nchw.npy", "--mean", "64,64,64"),
           "one value is one for all")
    expect(report("nchw.npy", "--mean", "3,2,1") != report("nchw.npy", "--mean", "1,2,3"),
           "the order of the list counts")
    does_not = "does not fit the model's input 'x' [N,3,4,5]"
    t.refuse(f"nhwc.npy: an array [10,4,5,3] {does_not} (it would with --nhwc)", "m.onnx",
             "--inputs", "nhwc.npy")
    t.refuse(f"nchw.npy: an array [10,3,4,5] in NHWC order {does_not} (it would without --nhwc)",
             "m.onnx", "--inputs", "nchw.npy", "--nhwc")
    t.refuse("--std has 2 values, but the model's input 'x' has 3 channels", "m.onnx", "--inputs",
             "nchw.npy", "--std", "1,2")


def test_two_inputs(t):
    """Arrays are given in the graph's order, each with its own mean and std."""
    t.write("m.onnx", onnx([node("Sub", ["a", "b"], "s"), node("Gemm", ["s", "w"], "y")],
                           [weight("w", (4, 3))],
                           [value_info("a", F32, ["N", 4]), value_info("b", F32, ["N", 4])],
                           [value_info("y", F32, ["N", 3])]))
    rng = random.Random(7)
    a, b = ([rng.randrange(100) for _ in range(32)] for _ in "ab")
    t.write("a.npy", npy("u1", (8, 4), a))
    t.write("b.npy", npy("i2", (8, 4), b))
    t.write("b_less.npy", npy("f4", (8, 4), [x - 5 for x in b]))
    t.write("short.npy", npy("i2", (7, 4), b[:28]))

    def report(first, second, *args):
        return without_seconds(t.diagnose("--inputs", second, *args, inputs=first, model="m.onnx"))

    expect(report("a.npy", "b.npy") != report("b.npy", "a.npy"), "the order counts")
    expect(report("a.npy", "b.npy", "--mean", "0", "--mean", "5") == report("a.npy", "b_less.npy"),
           "the second mean is the second input's")
    t.refuse("m.onnx: the model has 2 inputs, but 1 array is given", "m.onnx", "--inputs", "a.npy")
    t.refuse("a.npy has 8 samples, short.npy has 7", "m.onnx", "--inputs", "a.npy", "--inputs",
             "short.npy")


def test_integer_input(t):
    """An int64 input takes integers, exactly."""
    t.write("m.onnx", onnx([node("Gather", ["table", "ids"], "e"), node("Flatten", ["e"], "f"),
                            node("Gemm", ["f", "w"], "y")],
                           [weight("table", (5, 4)), weight("w", (12, 3))],
                           [value_info("ids", I64, ["N", 3])], [value_info("y", F32, ["N", 3])]))
    ids = [i * 7 % 5 for i in range(30)]
    t.write("ids.npy", npy("i8", (10, 3), ids))
    t.write("ids_u1.npy", npy("u1", (10, 3), ids))
    t.write("ids_f4.npy", npy("f4", (10, 3), ids))
    wanted = without_seconds(t.diagnose(inputs="ids.npy", model="m.onnx"))
    expect(without_seconds(t.diagnose(inputs="ids_u1.npy", model="m.onnx")) == wanted, "uint8")
    t.write("ids_u8.npy", npy("u8", (10, 3), ids))
    expect(without_seconds(t.diagnose(inputs="ids_u8.npy", model="m.onnx")) == wanted, "uint64")
    t.write("ids_u8.npy", npy("u8", (10, 3), ids[:29] + [2 ** 64 - 4]))
    t.refuse("ids_u8.npy: sample 9: a number beyond int64 does not fit into int64", "m.onnx",
             "--inputs", "ids_u8.npy", "--quiet")
    t.refuse("ids_f4.npy: holds float32, but the model's input 'ids' is int64", "m.onnx",
             "--inputs", "ids_f4.npy")
    t.refuse("--mean: the model's input 'ids' is int64, not float32", "m.onnx", "--inputs",
             "ids.npy", "--mean", "1")


def test_fixed_batch(t):
    """A model that runs two samples at a time gets an even number of them, and says so."""
    t.write("m.onnx", onnx([node("Gemm", ["x", "w"], "y")], [weight("w", (4, 3))],
                           [value_info("x", F32, [2, 4])], [value_info("y", F32, [2, 3])]))
    t.write("x7.npy", npy("u1", (7, 4), range(28)))
    t.write("x1.npy", npy("u1", (1, 4), range(4)))
    code, _, err = t.run("m.onnx", "--inputs", "x7.npy", "--json", "r.json")
    expect(code == 0, err)
    expect("qdebug-diagnose: warning: x7.npy: the model runs 2 samples at a time; using the first "
           "6 of 7\n" in err, err)
    expect(t.diagnose(inputs="x7.npy", model="m.onnx")["samples"] == 6, "six samples")
    t.write("m600.onnx", onnx([node("Gemm", ["x", "w"], "y")], [weight("w", (4, 3))],
                              [value_info("x", F32, [600, 4])], [value_info("y", F32, [600, 3])]))
    t.write("x600.npy", npy("u1", (600, 4), [i % 251 for i in range(2400)]))
    r = t.diagnose(inputs="x600.npy", model="m600.onnx")
    expect(r["calibration_samples"] == 600, "more samples calibrate than by default")
    t.refuse("x1.npy: 1 samples, but the model runs 2 at a time", "m.onnx", "--inputs", "x1.npy")


# ---- what is refused ----

def test_arguments(t):
    """Wrong arguments: one line, exit 2."""
    x = (t.model, "--inputs", "x.npy")
    t.refuse("no model given; try --help")
    t.refuse("--inputs is missing; try --help", t.model)
    t.refuse("'b': one model only; try --help", "a", "b", "--inputs", "x.npy")
    t.refuse("--inputs needs a value; try --help", t.model, "--inputs")
    t.refuse("unknown option '--frob'; try --help", "--frob")
    t.refuse("unknown option '-x'; try --help", "-x")
    t.refuse("'--nhwc=1': the option takes no value; try --help", "--nhwc=1")
    t.refuse("--calibration must be given as often as --inputs", *x, "--calibration", "a",
             "--calibration", "b")
    t.refuse("--mean is given more often than --inputs", *x, "--mean", "1", "--mean", "2")
    t.refuse(f"{t.model}: the model has 1 input, but 2 arrays are given", *x, "--inputs", "x.npy")


def test_numbers(t):
    """Bad numbers: nothing is guessed."""
    x = (t.model, "--inputs", "x.npy")
    for option in ("--weights", "--activations"):
        for text in ("", "1", "17", "31", "8x", "-8", " 8", "+8", "8.0", "4294967304"):
            t.refuse(f"{option}: '{text}' is not 2 to 16 or 32", *x, option, text)
    for option in ("--weight-range", "--activation-range"):
        for text in ("", "MSE", "mse ", "cross-entropy", "percentile:99"):
            t.refuse(f"{option}: '{text}' is no method for these; try --help", *x, option, text)
        for text in ("", "50", "100.1", "nan", "99%"):
            t.refuse(f"{option}: '{text}' is not above 50, up to 100", *x, option,
                     f"percentile={text}")
    t.refuse("--weight-range: 'moving-average' is no method for these; try --help", *x,
             "--weight-range", "moving-average")
    for option, top in (("--limit", 1000000000000), ("--threads", 1024)):
        for text in ("", "0", "-1", "1e3", "3 ", str(top + 1), "9" * 30):
            t.refuse(f"{option}: '{text}' is not a whole number from 1 to {top}", *x, option, text)
    for text in ("", "0", "-1", "nan", "inf", "1e400", "0x1", "1,5", "."):
        t.refuse(f"--max-drop: '{text}' is not a number above 0", *x, "--max-drop", text)
    for text in ("", ",", "1,", ",1", "1,,2", "a", "nan", "1e39", "1;2", "1 ,2"):
        t.refuse(f"--mean: '{text}' is not a list of numbers such as 0.5,1.5", *x, "--mean", text)
    for text in ("0", "-1", "1e-60", "1,0"):
        t.refuse(f"--std: '{text}' is not a list of positive numbers such as 0.5,1.5", *x, "--std",
                 text)
    t.refuse("--mean has 2 values, but the model's input 'input' has 1 channel", *x, "--mean", "1,2")


def test_missing_files(t):
    t.refuse("none.npy: No such file or directory", t.model, "--inputs", "none.npy")
    t.refuse("none.npy: No such file or directory", t.model, "--inputs", "x.npy", "--labels",
             "none.npy")
    t.refuse("none.npy: No such file or directory", t.model, "--inputs", "x.npy", "--calibration",
             "none.npy")
    t.refuse(re.compile(r".*none\.onnx.*"), "none.onnx", "--inputs", "x.npy")
    t.refuse(".: is not a regular file", t.model, "--inputs", ".")


def test_broken_npy(t):
    """What is not exactly a .npy file of numbers in C order is told so."""
    good = npy("u1", (20, 1, 28, 28), t.values)
    ones = [1] * IMAGE
    t.refuse_input("is truncated: 15679 bytes, not 15680", good[:-1])
    t.refuse_input("is truncated: 0 bytes, not 15680", good[:128])
    t.refuse_input("is truncated", good[:100])
    t.refuse_input("is too long: 15681 bytes, not 15680", good + b"\0")
    t.refuse_input("is not a .npy file", b"")
    t.refuse_input("is not a .npy file", good[:9])
    t.refuse_input("is not a .npy file", b"\x93NUMPZ" + good[6:])
    t.refuse_input("is an .npz archive; save its arrays as .npy files", b"PK\3\4" + good)
    t.refuse_input("has .npy version 4.0; 1.0 to 3.0 can be read", good[:6] + b"\4" + good[7:])
    t.refuse_input("is in Fortran order; save numpy.ascontiguousarray(array)",
                   npy("u1", (1, 28, 28), ones, order="True"))
    t.refuse_input("holds big-endian numbers ('>u2'); save it little-endian",
                   npy("u2", (1, 28, 28), ones, descr=">u2"))
    for descr in ("<c8", "|O", "<U1", "|S1", "<M8[s]", "<f16", "u1"):
        t.refuse_input(f"element type '{descr}' can not be read",
                       npy("u1", (1, 28, 28), ones, descr=descr))
    t.refuse_input("holds no samples", npy("u1", (0, 1, 28, 28), []))
    t.refuse_input("holds no samples", npy("u1", (), [1]))
    t.refuse_input("has more than 8 dimensions", npy("u1", (1,) * 9, [1]))
    t.refuse_input("is larger than any file", npy("u1", (2 ** 40, 2 ** 40), [1]))


def test_broken_npy_header(t):
    """A header that is not the dictionary it must be."""
    good = npy("u1", (20, 1, 28, 28), t.values)
    for old, new in ((b"'shape'", b"'shapf'"), (b"{", b"["), (b"}", b" "), (b"(20", b"(2x"),
                     (b"(20, 1,", b"(20  1,"), (b"False", b"Falsy"), (b"'descr': ", b"'descr'; "),
                     (b"28), }", b"28), x"), (b"'<u1", b"1<u1"), (b"(20,", b"(-2,")):
        expect(old in good, f"{old} is in the header")
        bad = good.replace(old, new, 1)
        t.write("bad.npy", bad)
        t.refuse(re.compile(r"bad\.npy: malformed header.*"), t.model, "--inputs", "bad.npy")


def test_shapes_refused(t):
    """Reordered dimensions are never taken for the right ones, even where the counts agree."""
    for shape, hint in (((20, 3, 28, 28), ""), ((20, 28, 27), ""), ((20,), ""),
                        ((20, 56, 14), ""), ((10, 2, 28, 28), "")):
        count = 1
        for d in shape:
            count *= d
        text = ",".join(map(str, shape))
        t.refuse_input(f"an array [{text}] does not fit the model's input 'input' [N,1,28,28]{hint}",
                       npy("u1", shape, [0] * count))
    t.write("bad.npy", npy("u1", (20, 784), t.values))
    t.refuse("bad.npy: --nhwc needs an array of four dimensions, not 2", t.model, "--inputs",
             "bad.npy", "--nhwc")


def test_nonfinite(t):
    """NaN and infinities are found before anything is run, and named."""
    for value, word in ((float("nan"), "NaN"), (float("inf"), "an infinity")):
        for dtype in ("f2", "f4", "f8"):
            values = [float(x) for x in t.values]
            values[7 * IMAGE + 5] = value
            t.refuse_input(f"sample 7: holds {word}", npy(dtype, (20, 1, 28, 28), values))
            t.refuse(f"bad.npy: sample 7: holds {word}", t.model, "--inputs", "x.npy",
                     "--calibration", "bad.npy")
    t.refuse_input("sample 0: holds an infinity", npy("f8", (1, 28, 28), [1e300] * IMAGE))


def test_labels(t):
    """Labels: as many as samples, integers, each a class."""
    x = (t.model, "--inputs", "x.npy", "--labels", "bad.npy")
    good = [1] * 20
    for value in (10, -1, 2 ** 62):
        values = list(good)
        values[3] = value
        t.write("bad.npy", npy("i8", (20,), values))
        t.refuse(f"bad.npy: sample 3: label {value} is not in 0..9", *x)
    t.write("bad.npy", npy("u8", (20,), good))
    expect(t.run(*x)[0] == 0, "labels of uint64")
    t.write("bad.npy", npy("u8", (20,), good[:3] + [2 ** 63] + good[4:]))
    t.refuse("bad.npy: sample 3: the label is beyond int64", *x)
    t.write("bad.npy", npy("u1", (19,), good[1:]))
    t.refuse("bad.npy: 19 labels, but x.npy has 20 samples", *x)
    t.refuse("bad.npy: 19 labels, but x.npy has 20 samples", *x, "--limit", "5")
    t.write("bad.npy", npy("f4", (20,), good))
    t.refuse("bad.npy: holds float32; labels are integers", *x)
    t.write("bad.npy", npy("u1", (20, 1), good))
    t.refuse("bad.npy: has 2 dimensions; labels have one", *x)


def test_broken_model(t):
    """Truncated and random models: one line with the file's name, exit 2."""
    m, rng = t.model_bytes, random.Random(3)
    cases = [b"", m[:1], m[:len(m) // 2], m[:-1], m + m[:7], b"\x93NUMPY" + m]
    cases += [rng.randbytes(n) for n in (1, 50, 5000)]
    for data in cases:
        t.write("bad.onnx", data)
        t.refuse(re.compile(r".*bad\.onnx.*"), "bad.onnx", "--inputs", "x.npy")


def test_damaged_files(t):
    """Bytes changed at random: a diagnosis or one line, never anything else."""
    rng = random.Random(4)
    good = npy("u1", (20, 1, 28, 28), t.values)
    for i in range(100):
        name, data, span = ("bad.onnx", t.model_bytes, 2000) if i % 2 else ("bad.npy", good, 128)
        data = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(span)] = rng.randrange(256)
        t.write(name, bytes(data))
        model, inputs = ("bad.onnx", "x.npy") if i % 2 else (t.model, "bad.npy")
        code, _, err = t.run(model, "--inputs", inputs, "--limit", "2", "--quiet", "--json", "d")
        expect(code in (0, 2), f"exit {code}: {err}")
        expect(err.count("\n") == (1 if code else 0), f"exit {code}: {err!r}")
        if code == 0:
            with open(t.path("d"), encoding="utf-8") as f:
                json.load(f)


def test_outputs(t):
    """Where nothing can be written, it is said before the run; what is read is not written over."""
    x = (t.model, "--inputs", "x.npy")
    for option in ("--html", "--json", "--csv"):
        t.refuse("no/where: cannot write: No such file or directory", *x, option, "no/where")
        t.refuse(".: cannot write: Is a directory", *x, option, ".")
        t.refuse(f"{option}: the file's name is empty", *x, option, "")
        t.refuse("x.npy: is an input; it will not be written over", *x, option, "x.npy")
    t.refuse("a: named for two reports", *x, "--html", "a", "--json", "a")
    t.write("m.onnx", t.model_bytes)
    t.refuse("m.onnx: is an input; it will not be written over", "m.onnx", "--inputs", "x.npy",
             "--csv", "m.onnx")
    left = [n for n in os.listdir(t.folder) if n.startswith("a")]
    expect(not left, f"left behind: {left}")


def test_pipes_and_links(t):
    """A report goes through a link and into a pipe; it does not take their place."""
    os.symlink("target.json", t.path("link.json"))
    t.write("target.json", b"old")
    t.diagnose("--csv", "link.json")
    expect(os.path.islink(t.path("link.json")), "the link is still one")
    with open(t.path("target.json"), encoding="utf-8") as f:
        expect("conv" in f.read(), "what the link points to has the report")
    os.mkfifo(t.path("pipe"))
    p = t.start(t.model, "--inputs", "x.npy", "--quiet", "--json", "pipe")
    with open(t.path("pipe"), encoding="utf-8") as f:
        expect(json.load(f)["samples"] == 20, "the pipe has the report")
    _, err = p.communicate(timeout=TIMEOUT)
    expect(p.returncode == 0 and err == "", f"exit {p.returncode}: {err}")
    expect(stat.S_ISFIFO(os.stat(t.path("pipe")).st_mode), "the pipe is still one")


def test_full_disk(t):
    """A text report that cannot be written is an error."""
    if not os.path.exists("/dev/full"):
        raise Skip("no /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        p = subprocess.run([t.program, t.model, "--inputs", "x.npy"], cwd=t.folder, stdout=full,
                           stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    last = p.stderr.rstrip("\n").split("\n")[-1]
    expect(p.returncode == 2 and "standard output: cannot write" in last, p.stderr)


def test_control_characters(t):
    """Names from files cannot steer the terminal or break the line."""
    t.refuse("a?[31mb?.npy: No such file or directory", t.model, "--inputs", "a\033[31mb\n.npy")


# ---- while it runs ----

def test_interrupt(t):
    """An interrupt ends the run within a batch: a line and exit 130."""
    t.write("many.npy", npy("u1", (4000, 1, 28, 28), t.values * 200))
    p = t.start(t.model, "--inputs", "many.npy", "--json", "i.json", "--threads", "1")
    select.select([p.stderr], [], [], TIMEOUT)
    p.send_signal(signal.SIGINT)
    asked = time.monotonic()
    out, err = p.communicate(timeout=TIMEOUT)
    expect(p.returncode == 130, f"exit {p.returncode}: {err} ({time.monotonic() - asked:.1f} s)")
    expect(err.split("\n")[-2] == "qdebug-diagnose: interrupted", err)
    expect(out == "" and not os.path.exists(t.path("i.json")), "nothing is written")


def test_interrupt_ignored(t):
    """A program that was started with interrupts ignored goes on."""
    p = t.start(t.model, "--inputs", "x.npy", "--quiet",
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=TIMEOUT)
    expect(p.returncode == 0, f"exit {p.returncode}")


def read_terminal(fd, process):
    """Everything that the program shows on a terminal until it ends."""
    shown = b""
    while True:
        ready, _, _ = select.select([fd], [], [], 0.2)
        if not ready and process.poll() is not None:
            return shown.decode()
        if ready:
            try:
                shown += os.read(fd, 4096)
            except OSError:  # the other end is closed
                return shown.decode()


def show(t, term, *args):
    try:
        master, slave = pty.openpty()
    except OSError as e:
        raise Skip(f"no terminal: {e}") from None
    p = t.start(t.model, *args, stderr=slave, env={**os.environ, "TERM": term})
    os.close(slave)
    shown = read_terminal(master, p)
    p.communicate(timeout=TIMEOUT)
    os.close(master)
    expect(p.returncode == 0, f"exit {p.returncode}: {shown}")
    return shown


def test_terminal(t):
    """On a terminal there is a bar with percent and time left; on a dumb one plain lines."""
    t.write("many.npy", npy("u1", (1000, 1, 28, 28), t.values * 50))
    shown = show(t, "xterm", "--inputs", "many.npy")
    expect(re.search(r"quantizers +\[#*\.*\] +\d+%  ETA \d+:\d\d", shown), shown[-400:])
    expect("\r" in shown and shown.count("\n") == 6, f"six lines stay: {shown!r}"[-400:])
    shown = show(t, "dumb", "--inputs", "x.npy")
    expect("%" not in shown and "\033" not in shown, repr(shown))


def main():
    if len(sys.argv) != 3:
        print(__doc__.split("\n")[2], file=sys.stderr)
        return 2
    passed = failed = skipped = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(Tests(sys.argv[1], sys.argv[2], folder))
                passed += 1
            except Skip as e:
                skipped += 1
                print(f"skipped {name}: {e}")
            except (Failure, OSError, subprocess.TimeoutExpired, ValueError, KeyError) as e:
                failed += 1
                print(f"FAILED {name}: {type(e).__name__}: {e}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
