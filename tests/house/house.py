#!/usr/bin/env python3
"""The house rules, as far as a program can check them.

usage: house.py SOURCE_DIR [--static LIB.a ...] [--shared LIB.so ...] [--nm NM] [--cc CC]

Every rule is a function that looks at a tree and returns what breaks it, one line each. Every rule
is run twice: on the source tree, where it must find nothing, and on a small bad tree that is made
up here, where it must find what is wrong: a rule that finds nothing anywhere is no rule.

Prints "N passed, N failed"; exit status 1 when something failed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

# ---- the tree ----

TOP = {"meson.build", "meson_options.txt", "include", "lib", "tests", "bench", "doc", "pkgconfig",
       "COPYING", "README.md", "NEWS.md", "CONTRIBUTING.md"}

LAYERS = {"base": 0, "tensor": 1, "kernels": 2, "quant": 3, "graph": 4, "exec": 5, "model": 6,
          "sim": 7, "analysis": 8, "diagnose": 9, "report": 10}

# A public header belongs to the layer that implements it.
PUBLIC_LAYERS = {"base": 0, "tensor": 1, "quantizer": 3, "range": 3, "graph": 4, "model": 6,
                 "rules": 7, "simulation": 7, "fold": 8, "equalize": 8, "bias_correction": 8, "adaround": 8,
                 "sensitivity": 8, "compare": 8, "mixed_precision": 8, "diagnose": 9, "report": 10}

# Functions that the library must not call, and the one file that may call some of them.
MEMORY = {"malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign", "strdup",
          "strndup", "asprintf", "vasprintf"}
HIDDEN_MEMORY = {"qsort", "qsort_r"}  # what glibc's takes passes by the context's allocator
FORBIDDEN = MEMORY | HIDDEN_MEMORY | {
    "printf", "fprintf", "vprintf", "vfprintf", "puts", "fputs", "putchar", "perror",  # prints
    "exit", "_exit", "_Exit", "quick_exit", "abort", "assert", "raise",                # ends
    "getenv", "secure_getenv", "setenv", "setlocale", "uselocale",                     # environment
    "time", "clock", "clock_gettime", "gettimeofday", "rand", "srand", "random",       # clock, luck
    "signal", "sigaction", "fesetround", "feenableexcept"}                             # process state
ALLOCATOR = "lib/base/ctx.c"

MAX_FILE = 600      # lines of a .c file
MAX_FUNCTION = 100  # lines of a function
MAX_COLUMNS = 100


def files(root, *suffixes):
    """Paths of the tree's files below `root`, with forward slashes; dot and build folders aside."""
    found = []
    for folder, names, here in os.walk(root):
        rel = os.path.relpath(folder, root)
        names[:] = [n for n in names if not n.startswith(".") and n != "__pycache__"
                    and not (rel == "." and n.startswith("build"))]
        for n in here:
            path = n if rel == "." else os.path.join(rel, n)
            if not n.startswith(".") and (not suffixes or n.endswith(suffixes)):
                found.append(path.replace(os.sep, "/"))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", newline="") as f:
        return f.read()


def strip(source):
    """C source without comments, and with empty strings; lines stay where they are."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(m):
        text = m.group(0)
        return '""' if text[0] == '"' else "0" if text[0] == "'" else "\n" * text.count("\n") or " "

    return pattern.sub(blank, source)


def includes(source):
    """(delimiter, name) of every #include outside comments."""
    bare = re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.S)
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', bare, flags=re.M)


def resolve(root, path, name):
    """The file in the tree that `#include "name"` in `path` means."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name)).replace(os.sep, "/")
    for candidate in (beside, "lib/" + name, name):
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return beside


def functions(source):
    """Names of the functions that a public header declares."""
    bare = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", strip(source), flags=re.M)
    return set(re.findall(r"\bQDBG_API\b[^;(]*?\b(\w+)\s*\(", bare))


# ---- rules about the tree ----

def top_level(root):
    """Only the agreed entries lie at the top."""
    bad = [n for n in sorted(os.listdir(root)) if n not in TOP and not n.startswith(".")
           and not n.startswith("build") and n != "__pycache__"]
    return [f"{n}: not an entry of the top level" for n in bad]


def layer_of_header(name):
    """Layer of <qdebug/NAME>; None for a header without one."""
    return PUBLIC_LAYERS.get(name[len("qdebug/"):-len(".h")])


def same_analysis(a, b):
    """Do two stems belong to one analysis? A part is called as the whole with _part behind, and
    parts of a whole of one word may use each other."""
    return (a == b or a.startswith(b + "_") or b.startswith(a + "_")
            or "_" in a and "_" in b and a.split("_")[0] == b.split("_")[0])


def check_library_include(root, path, kind, name):
    folder, stem = path.split("/")[1], os.path.splitext(os.path.basename(path))[0]
    mine = LAYERS[folder]
    if kind == "<":
        if re.match(r"(google/)?protobuf", name):
            return f"{path}: <{name}> is for lib/onnx only"
        if not name.startswith("qdebug/"):
            return None
        theirs, target = layer_of_header(name), name[len("qdebug/"):-2]
        if theirs is None:
            return f"{path}: <{name}> has no layer in {os.path.basename(__file__)}"
        if theirs > mine:
            return f"{path}: <{name}> points up, {mine} to {theirs}"
        if theirs == mine == LAYERS["analysis"] and not same_analysis(stem, target):
            return f"{path}: <{name}> is another analysis"
        return None
    target = resolve(root, path, name).split("/")
    if target[0] != "lib" or len(target) < 3 or target[1] not in LAYERS:
        return f'{path}: "{name}" is outside the layers of lib/'
    if LAYERS[target[1]] > mine:
        return f'{path}: "{name}" points up, {mine} to {LAYERS[target[1]]}'
    if folder == target[1] == "analysis" and not same_analysis(stem, target[-1][:-2]):
        return f'{path}: "{name}" is another analysis'
    return None


def layers(root):
    """An include points to a lower layer or the same folder; analyses do not know each other."""
    bad = []
    for path in files(root, ".c", ".h"):
        part = path.split("/")
        if part[0] != "lib":
            continue
        if len(part) < 3 or (part[1] not in LAYERS and part[1] != "onnx"):
            bad.append(f"{path}: not in a layer of lib/")
            continue
        for kind, name in includes(read(root, path)):
            if part[1] != "onnx":
                bad.append(check_library_include(root, path, kind, name))
            elif kind == '"' and not resolve(root, path, name).startswith("lib/onnx/") \
                    and not name.endswith(".pb-c.h"):
                bad.append(f'{path}: "{name}" is outside lib/onnx')
    return [b for b in bad if b]


def public_headers(root):
    """Public headers include only <qdebug/...> of their layer or below, stddef.h and stdint.h."""
    bad = []
    for path in files(root, ".h"):
        if not path.startswith("include/qdebug/"):
            continue
        stem = os.path.basename(path)[:-2]
        source = read(root, path)
        mine = 11 if stem in ("qdebug", "onnx") else PUBLIC_LAYERS.get(stem)
        if mine is None:
            bad.append(f"{path}: has no layer in {os.path.basename(__file__)}")
            continue
        for kind, name in includes(source):
            if name in ("stddef.h", "stdint.h"):
                continue
            theirs = layer_of_header(name) if name.startswith("qdebug/") else None
            if kind != "<" or theirs is None or theirs > mine:
                bad.append(f"{path}: may not include {name}")
    return bad


def public_names(root):
    """Public names carry the prefix; nothing that a binding cannot load; every INIT has a twin."""
    bad = []
    for path in files(root, ".h"):
        if not path.startswith("include/qdebug/"):
            continue
        declared = functions(read(root, path))
        source = strip(read(root, path))
        for name in re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", source, flags=re.M):
            if not name.startswith(("QDBG_", "QDEBUG_")):
                bad.append(f"{path}: macro {name} lacks the prefix QDBG_")
        bad += [f"{path}: function {n} lacks the prefix qdbg_" for n in sorted(declared)
                if not re.match(r"qdbg_[a-z]", n)]
        for name in re.findall(r"#[ \t]*define[ \t]+(QDBG_\w+_INIT)\b", source):
            if name.lower() not in declared:
                bad.append(f"{path}: {name} has no twin {name.lower()}()")
        for word in ("inline", "enum", "bool", "_Bool", "long", "wchar_t"):
            if re.search(rf"\b{word}\b", source):
                bad.append(f"{path}: uses {word}")
        if re.search(r"\.\.\.\s*\)", source):
            bad.append(f"{path}: a function with variable arguments")
        if re.search(r"^\s*(?:unsigned |u?int\d+_t )\s*\w+\s*:\s*\d", source, flags=re.M):
            bad.append(f"{path}: a bit-field")
    return bad


def forbidden_calls(root):
    """The library allocates through its context, and never prints, ends or asks for the time."""
    bad = []
    call = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(sorted(FORBIDDEN)))
    for path in files(root, ".c", ".h"):
        if not path.startswith("lib/"):
            continue
        for n, line in enumerate(strip(read(root, path)).split("\n"), 1):
            for name in call.findall(line):
                if path != ALLOCATOR or name not in MEMORY:
                    bad.append(f"{path}:{n}: calls {name}()")
    return bad


def intrinsics(root):
    """Machine code lives in lib/kernels only."""
    bad = []
    word = re.compile(r"\b(_mm\d*_\w+|__m(?:128|256|512)\w*|v(?:ld1|st1)q?_\w+|float32x4_t)\b")
    for path in files(root, ".c", ".h"):
        if not path.startswith("lib/") or path.startswith("lib/kernels/"):
            continue
        source = read(root, path)
        names = {name for _, name in includes(source)} & {"immintrin.h", "arm_neon.h",
                                                          "x86intrin.h", "emmintrin.h"}
        names |= set(word.findall(strip(source)))
        bad += [f"{path}: {name}" for name in sorted(names)]
    return bad


def sizes(root):
    """A .c file, tests aside, has fewer than 600 lines; a function at most 100."""
    bad = []
    for path in files(root, ".c", ".h"):
        lines = strip(read(root, path)).split("\n")
        if path.endswith(".c") and not path.startswith("tests/") and len(lines) > MAX_FILE:
            bad.append(f"{path}: {len(lines) - 1} lines")
        start = None
        for n, line in enumerate(lines, 1):
            # In our format only functions open with a brace in the first column.
            if line.startswith("{"):
                start = n
            elif line.startswith("}") and start is not None:
                if n - start + 1 > MAX_FUNCTION:
                    bad.append(f"{path}:{start}: a function of {n - start + 1} lines")
                start = None
    return bad


def names(root):
    """No file is called after nothing."""
    return [f"{p}: a name that says nothing" for p in files(root)
            if re.fullmatch(r"(utils?|common|misc|helpers?)\.\w+", os.path.basename(p))]


def left_open(root):
    """Nothing is left open."""
    words = re.compile(r"\b(%s)\b" % "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
    bad = []
    for path in files(root, ".c", ".h", ".py", ".sh", ".md", ".build", ".proto", ".txt"):
        for n, line in enumerate(read(root, path).split("\n"), 1):
            bad += [f"{path}:{n}: {w}" for w in words.findall(line)]
    return bad


def text(root):
    """Text ends with one newline and has no tabs, carriage returns or blanks at a line's end."""
    bad = []
    for path in files(root, ".c", ".h", ".py", ".sh", ".md", ".build", ".proto"):
        source = read(root, path)
        if source and (not source.endswith("\n") or source.endswith("\n\n")):
            bad.append(f"{path}: does not end with one newline")
        for n, line in enumerate(source.split("\n"), 1):
            if re.search(r"[ \t\r]$", line) or "\t" in line or "\r" in line:
                bad.append(f"{path}:{n}: tab, carriage return or blank at the end")
            if path.endswith((".c", ".h")) and len(line) > MAX_COLUMNS:
                bad.append(f"{path}:{n}: {len(line)} columns")
    return bad


def examples(root):
    """Example programs stand on the public headers alone."""
    bad = []
    for path in files(root, ".c", ".h"):
        if not path.startswith("doc/examples/"):
            continue
        for kind, name in includes(read(root, path)):
            if kind == '"' and not resolve(root, path, name).startswith("doc/examples/"):
                bad.append(f'{path}: "{name}" is not public')
    return bad


def readme(root):
    """The first program that the README shows is the one that is compiled and run."""
    blocks = re.findall(r"^```c\n(.*?)^```", read(root, "README.md"), flags=re.M | re.S)
    if read(root, "doc/examples/first.c") not in blocks:
        return ["README.md: no C block equals doc/examples/first.c"]
    return []


def header_version(root):
    numbers = re.findall(r"#define QDBG_VERSION_(MAJOR|MINOR|PATCH) (\d+)",
                         read(root, "include/qdebug/base.h"))
    return ".".join(n for _, n in numbers)


def versions(root):
    """base.h, meson.build and NEWS.md speak of the same version."""
    bad = []
    version = header_version(root)
    built = re.search(r"\bproject\(.*?\bversion\s*:\s*'([^']+)'", read(root, "meson.build"), re.S)
    if not built or built.group(1) != version:
        bad.append(f"meson.build: version is not {version}, which base.h has")
    news = re.search(r"^#+ (?:libqdebug )?(\d[\d.]*)", read(root, "NEWS.md"), flags=re.M)
    if not news or version not in (news.group(1), news.group(1) + ".0"):
        bad.append(f"NEWS.md: its first section is not about {version}")
    return bad


def declared(root, library):
    """The functions that the headers of a library declare."""
    found = set()
    for path in files(root, ".h"):
        if path.startswith("include/qdebug/") and (path.endswith("/onnx.h") ==
                                                   (library == "libqdebug-onnx")):
            found |= functions(read(root, path))
    return found


def listed(root, library):
    """The functions in a library's committed export list."""
    source = re.sub(r"/\*.*?\*/|#[^\n]*", "", read(root, f"lib/{library}.map"), flags=re.S)
    m = re.search(r"global:(.*?)local:", source, flags=re.S)
    return set(re.findall(r"\w+", m.group(1))) if m else set()


def difference(what, a, where_a, b, where_b):
    return [f"{what}: {n} is in {where_a} but not in {where_b}" for n in sorted(a - b)] + \
           [f"{what}: {n} is in {where_b} but not in {where_a}" for n in sorted(b - a)]


def export_lists(root):
    """The committed export lists are what the headers declare."""
    bad = []
    for library in ("libqdebug", "libqdebug-onnx"):
        bad += difference(library, declared(root, library), "the headers", listed(root, library),
                          f"{library}.map")
    return bad


# ---- rules about what was built ----

def nm(program, *args):
    """Lines of nm's POSIX output: (file or member, name, type)."""
    out = subprocess.run([program, "-P", "-A", *args], capture_output=True, text=True, check=True)
    rows = []
    for line in out.stdout.splitlines():
        m = re.match(r"(.*): (\S+) (\S)", line)
        if m:
            rows.append(m.groups())
    return rows


# What a sanitizer or coverage build adds to the objects.
ADDED = ("__asan", "__odr_asan", "__ubsan", "__tsan", "__gcov", "__llvm", "__profile")


def archive_prefix(program, archive):
    """Every global of a static library carries the prefix."""
    return [f"{where}: global {name} lacks the prefix qdbg_"
            for where, name, kind in nm(program, "-g", "--defined-only", archive)
            if not name.startswith("qdbg_") and not name.startswith(ADDED)]


def archive_calls(program, archive):
    """What a static library leaves undefined is not forbidden, however it is called."""
    bad = []
    for where, name, kind in nm(program, "-u", archive):
        plain = re.sub(r"^__(\w+)_chk$", r"\1", name).split("@")[0]
        member = os.path.basename(where)
        if plain in FORBIDDEN and not (plain in MEMORY and re.search(r"\bbase_ctx\.c", member)):
            bad.append(f"{where}: calls {name}")
    return bad


def shared_exports(program, root, path):
    """A shared library exports its committed list."""
    library = re.sub(r"\.(so|dylib)\b.*", "", os.path.basename(path))
    # "A" is the name of a symbol version.
    exported = {name.split("@")[0] for _, name, kind in nm(program, "-D", "--defined-only", path)
                if kind != "A"}
    return difference(os.path.basename(path), {n for n in exported if not n.startswith(ADDED)},
                      "the library", listed(root, library), f"{library}.map")


# ---- the bad trees ----

# For each rule: a tree that breaks it, and what must be found there, each once.
BAD_TREES = [
    (top_level, {"notes.txt": "", "lib/x": ""}, ["notes.txt"]),
    (layers, {
        "lib/base/a.c": '#include "../sim/sim.h"\n#include <qdebug/model.h>\n#include <stdio.h>\n',
        "lib/sim/sim.h": '#include "../base/b.h"\n', "lib/base/b.h": "",
        "lib/analysis/fold.c": '#include "sensitivity.h"\n#include <qdebug/sensitivity.h>\n'
                               '#include "fold.h"\n/* #include "../report/report.h" */\n',
        "lib/analysis/fold.h": "", "lib/analysis/sensitivity.h": "",
        "lib/model/m.c": "#include <protobuf-c/protobuf-c.h>\n#include <qdebug/strange.h>\n",
        "lib/onnx/load.c": '#include "../base/b.h"\n#include <qdebug/graph.h>\n',
        "lib/extra/e.c": ""},
     ['lib/base/a.c: "../sim/sim.h" points up', "lib/base/a.c: <qdebug/model.h> points up",
      'lib/analysis/fold.c: "sensitivity.h" is another', "<qdebug/sensitivity.h> is another",
      "protobuf-c.h> is for lib/onnx", "<qdebug/strange.h> has no layer",
      'lib/onnx/load.c: "../base/b.h"', "lib/extra/e.c: not in a layer"]),
    (public_headers, {
        "include/qdebug/base.h": "#include <stdint.h>\n#include <qdebug/graph.h>\n",
        "include/qdebug/graph.h": '#include "tensor.h"\n#include <stdio.h>\n',
        "include/qdebug/odd.h": ""},
     ["base.h: may not include qdebug/graph.h", "graph.h: may not include tensor.h",
      "graph.h: may not include stdio.h", "odd.h: has no layer"]),
    (public_names, {
        "include/qdebug/base.h": "#define SIZE 1\n#define QDBG_A_INIT {0}\n"
                                 "QDBG_API int other(void);\nQDBG_API void qdbg_say(int, ...);\n"
                                 "struct s {\n    unsigned a : 3;\n};\nenum e { E };\n"
                                 "static inline int f(void);\n"},
     ["macro SIZE", "function other", "QDBG_A_INIT has no twin", "variable arguments", "bit-field",
      "uses enum", "uses inline"]),
    (forbidden_calls, {
        "lib/base/ctx.c": "void *p = malloc(1);\nvoid f(void) { abort(); }\n",
        "lib/sim/s.c": 'x = calloc(1, 2);\n/* free(x) */\na->free(x);\ns = "exit(1)";\n'
                       "t = time (0);\nqsort(a, n, 4, f);\n"},
     ["lib/base/ctx.c:2: calls abort", "lib/sim/s.c:1: calls calloc", "lib/sim/s.c:5: calls time",
      "lib/sim/s.c:6: calls qsort"]),
    (intrinsics, {
        "lib/exec/e.c": "#include <immintrin.h>\nx = _mm256_add_ps(a, b);\n",
        "lib/kernels/x86/k.c": "#include <immintrin.h>\n"},
     ["lib/exec/e.c: immintrin.h", "lib/exec/e.c: _mm256_add_ps"]),
    (sizes, {
        "lib/base/long.c": "\n" * 600,
        "tests/t.c": "void f(void)\n{\n" + "    f();\n" * 99 + "}\n",
        "tests/u.c": "void f(void)\n{\n" + "    f();\n" * 98 + "}\n"},
     ["lib/base/long.c: 600 lines", "tests/t.c:2: a function of 101 lines"]),
    (names, {"lib/base/utils.c": "", "lib/base/util_pool.c": ""}, ["lib/base/utils.c"]),
    (left_open, {"lib/a.c": "/* TO" + "DO: later */\n", "README.md": "XXXX\n"}, ["lib/a.c:1"]),
    (text, {"lib/a.c": "int a; \n", "lib/b.c": "int b;", "lib/c.c": "\tint c;\n",
            "lib/d.c": "int d;\r\n", "lib/e.c": "x" * 101 + "\n", "lib/f.c": "x" * 100 + "\n"},
     ["lib/a.c:1", "lib/b.c: does not", "lib/c.c:1", "lib/d.c:1", "lib/e.c:1: 101"]),
    (examples, {"doc/examples/a.c": '#include "b.h"\n#include "../../lib/base/ctx.h"\n',
                "doc/examples/b.h": "", "lib/base/ctx.h": ""}, ["ctx.h"]),
    (readme, {"README.md": "```c\nint a;\n```\n", "doc/examples/first.c": "int b;\n"}, ["first.c"]),
    (versions, {
        "include/qdebug/base.h": "#define QDBG_VERSION_MAJOR 1\n#define QDBG_VERSION_MINOR 2\n"
                                 "#define QDBG_VERSION_PATCH 3\n",
        "meson.build": "project('x', 'c', version: '1.2.4')\n", "NEWS.md": "## 1.1\n"},
     ["meson.build", "NEWS.md"]),
    (export_lists, {
        "include/qdebug/base.h": "QDBG_API int qdbg_a(void);\n",
        "include/qdebug/onnx.h": "QDBG_API int qdbg_onnx_a(\n    int x);\n",
        "lib/libqdebug.map": "{ global: qdbg_b; local: *; };\n",
        "lib/libqdebug-onnx.map": "{ global: qdbg_onnx_a; local: *; };\n"},
     ["qdbg_a is in the headers", "qdbg_b is in libqdebug.map"]),
]

BAD_OBJECT = "int stray;\nint qdbg__fine;\nvoid qdbg__f(void);\nvoid exit(int);\n" \
             "void qdbg__f(void) { exit(1); }\n"
BAD_LIBRARY = "__attribute__((visibility(\"default\"))) int qdbg_extra(void) { return 0; }\n"


# ---- running them ----

class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, problems):
        if problems:
            self.failed += 1
            print(f"FAILED {name}")
            for p in problems:
                print(f"    {p}")
        else:
            self.passed += 1


def compare(found, expected):
    """Every expected thing is found exactly once, and nothing else."""
    wrong = [f"not found: {e}" for e in expected if sum(e in f for f in found) != 1]
    wrong += [f"found though it is right: {f}" for f in found if not any(e in f for e in expected)]
    return wrong


def make_tree(folder, tree):
    for path, content in tree.items():
        full = os.path.join(folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8", newline="") as f:
            f.write(content)


def run_tree_rules(count, root):
    for rule, tree, expected in BAD_TREES:
        try:
            count.add(rule.__name__, rule(root))
        except OSError as e:
            count.add(rule.__name__, [str(e)])
        with tempfile.TemporaryDirectory() as folder:
            make_tree(folder, tree)
            count.add(f"{rule.__name__} on a bad tree", compare(rule(folder), expected))


def run_bad_objects(count, options):
    with tempfile.TemporaryDirectory() as folder:
        make_tree(folder, {"a.c": BAD_OBJECT, "b.c": BAD_LIBRARY,
                           "lib/libqdebug.map": "{ global: qdbg_lost; local: *; };\n"})
        obj, lib = os.path.join(folder, "a.o"), os.path.join(folder, "libqdebug.so.0")
        try:
            subprocess.run([options.cc, "-w", "-fno-common", "-c", "a.c", "-o", obj], cwd=folder,
                           check=True)
            subprocess.run([options.cc, "-shared", "-fPIC", "b.c", "-o", lib], cwd=folder,
                           check=True)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"skipped the bad objects: {e}")
            return
        count.add("archive_prefix on a bad object",
                  compare(archive_prefix(options.nm, obj), ["global stray"]))
        count.add("archive_calls on a bad object",
                  compare(archive_calls(options.nm, obj), ["calls exit"]))
        count.add("shared_exports on a bad library",
                  compare(shared_exports(options.nm, folder, lib), ["qdbg_extra", "qdbg_lost"]))


def main():
    parser = argparse.ArgumentParser(description="Check the house rules.")
    parser.add_argument("root", metavar="SOURCE_DIR")
    parser.add_argument("--static", action="append", default=[], metavar="LIB.a")
    parser.add_argument("--shared", action="append", default=[], metavar="LIB.so")
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--cc", default="cc")
    options = parser.parse_args()
    count = Count()

    run_tree_rules(count, options.root)
    for path in options.static:
        count.add(f"archive_prefix {path}", archive_prefix(options.nm, path))
        count.add(f"archive_calls {path}", archive_calls(options.nm, path))
    for path in options.shared:
        count.add(f"shared_exports {path}", shared_exports(options.nm, options.root, path))
    if options.static or options.shared:
        run_bad_objects(count, options)

    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
