#!/usr/bin/env python3
"""The public headers as others meet them: C99 compilers, C++ compilers, parsers, old programs.

usage: test_abi.py SOURCE_DIR [--cc CC] [--cxx CXX]

Each header compiles alone, as pedantic C99 and as C++. pycparser, which bindings are made with,
reads them, and finds structs that follow the rules and that test_abi_layout.c pins completely. Every
check is also given headers that break it and must notice. A check whose tool is missing is skipped
with a line. Prints "N passed, N failed, N skipped"; exit status 1 when something failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

try:
    from pycparser import c_ast, c_parser
    from pycparser.plyparser import ParseError
except ImportError:
    c_ast = None

C_FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
CXX_FLAGS = ["-std=c++98", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
             "-Wno-long-long"]

# What pycparser needs to know of the C library, on a machine with 64-bit pointers.
FAKE = {
    "stddef.h": "typedef unsigned long size_t;\n",
    "stdint.h": "typedef signed char int8_t;\ntypedef unsigned char uint8_t;\n"
                "typedef int int32_t;\ntypedef unsigned int uint32_t;\n"
                "typedef long int64_t;\ntypedef unsigned long uint64_t;\n"}

# Bytes of the types that a public struct may hold.
FIELD_TYPES = {"int32_t": 4, "uint32_t": 4, "qdbg_status": 4, "float": 4, "int64_t": 8,
               "uint64_t": 8, "double": 8}

# Headers that must not pass as C99, as C++, and as a struct of ours.
BAD_C99 = {"a type without its header": "uint32_t qdbg_f(void);\n",
           "a nested unnamed struct": "struct qdbg_s { struct { int a; }; };\n",
           "an old-style declaration": "qdbg_f(void);\n"}
BAD_CXX = {"a C++ keyword": "struct qdbg_s { int class; };\n",
           "a restrict pointer": "void qdbg_f(int *restrict p);\n"}
BAD_STRUCTS = {
    "is a bit-field": "uint32_t struct_size; uint32_t a : 3; uint32_t b : 29;",
    "type long": "uint32_t struct_size; uint32_t reserved; long a;",
    "type size_t": "uint32_t struct_size; uint32_t reserved; size_t a;",
    "type enum": "uint32_t struct_size; enum qdbg_e { QDBG_A } a;",
    "not struct_size": "uint32_t size; uint32_t a;",
    "lies at 4": "uint32_t struct_size; double a;",
    "ends at 12": "uint32_t struct_size; uint32_t reserved; float a;",
}


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, name, problem):
        """Count a check; `problem` is empty when it holds."""
        if problem:
            self.failed += 1
            print(f"FAILED {name}:\n{problem.rstrip()}")
        else:
            self.passed += 1

    def skip(self, name, why):
        self.skipped += 1
        print(f"skipped {name}: {why}")


def compile_text(command, text, suffix):
    """What a compiler has to say about a source; empty when it compiles."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t" + suffix)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        p = subprocess.run([*command, path], capture_output=True, text=True, check=False)
        return p.stderr or f"exit status {p.returncode}" if p.returncode else ""


def must_fail(problem):
    return "" if problem else "it was not noticed"


def headers(root):
    return sorted(n for n in os.listdir(os.path.join(root, "include", "qdebug"))
                  if n.endswith(".h"))


def check_alone(count, root, options):
    """Every header compiles on its own, included twice."""
    include = "-I" + os.path.join(root, "include")
    for language, program, flags, suffix, bad in (("C99", options.cc, C_FLAGS, ".c", BAD_C99),
                                                  ("C++", options.cxx, CXX_FLAGS, ".cc", BAD_CXX)):
        if not shutil.which(program):
            count.skip(f"headers as {language}", f"no {program}")
            continue
        command = [program, *flags, include]
        for name in headers(root):
            text = f"#include <qdebug/{name}>\n" * 2 + "int main(void);\n"
            count.add(f"{name} as {language}", compile_text(command, text, suffix))
        for what, text in bad.items():
            count.add(f"{what} is noticed as {language}",
                      must_fail(compile_text(command, text, suffix)))


def check_layout(count, root, options):
    """test_abi_layout.c holds, and would not hold if a struct were another."""
    layout = os.path.join(root, "tests", "abi", "test_abi_layout.c")
    command = [options.cc, "-std=c11", "-fsyntax-only"]
    p = subprocess.run([*command, "-I" + os.path.join(root, "include"), layout],
                       capture_output=True, text=True, check=False)
    count.add("layout of the structs", p.stderr if p.returncode else "")
    changes = {"a field more": ("double max_drop;", "double max_drop; uint64_t more;"),
               "fields exchanged": ("uint32_t n_steps;", "double n_steps;"),
               "a wider field": ("uint32_t weight_bits;", "uint64_t weight_bits;")}
    for what, (old, new) in changes.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(os.path.join(root, "include"), os.path.join(folder, "include"))
            path = os.path.join(folder, "include", "qdebug", "diagnose.h")
            with open(path, encoding="utf-8") as f:
                source = f.read()
            with open(path, "w", encoding="utf-8") as f:
                f.write(source.replace(old, new, 1))
            p = subprocess.run([*command, "-I" + os.path.join(folder, "include"), layout],
                               capture_output=True, text=True, check=False)
            count.add(f"{what} is noticed", must_fail(p.stderr if p.returncode else ""))


# ---- what a parser sees ----

def parse(options, include, text):
    """The syntax tree of a preprocessed source."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in FAKE.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(content)
        p = subprocess.run([options.cc, "-E", "-P", "-nostdinc", "-I" + folder, "-I" + include,
                            "-D__attribute__(x)=", "-"], input=text, capture_output=True, text=True,
                           check=True)
    return c_parser.CParser().parse(p.stdout)


def structs(tree):
    """{name: fields} of the structs whose contents are public."""
    found = {}
    for e in tree.ext:
        t = e.type.type if isinstance(e, c_ast.Typedef) and isinstance(e.type, c_ast.TypeDecl) else 0
        if isinstance(t, c_ast.Struct) and t.decls:
            found[e.name] = t.decls
    return found


def field_size(field, sizes):
    """(bytes, alignment) of a field, or the name of a type that is not allowed."""
    t, n = field.type, 1
    while isinstance(t, c_ast.ArrayDecl):
        n *= int(t.dim.value)
        t = t.type
    if isinstance(t, c_ast.PtrDecl):
        return 8 * n, 8
    if not isinstance(t.type, c_ast.IdentifierType):
        return type(t.type).__name__.lower(), 0
    name = " ".join(t.type.names)
    if name.endswith("_fn"):
        return 8 * n, 8
    if name in sizes:
        return sizes[name] * n, 8  # our structs all hold a pointer or come in multiples of 8
    if name in FIELD_TYPES:
        return FIELD_TYPES[name] * n, FIELD_TYPES[name]
    return name, 0


def check_struct(name, fields, sizes):
    """What a struct does against the rules: struct_size first, no hidden padding, fixed widths."""
    bad = []
    if fields[0].name != "struct_size" or field_size(fields[0], {}) != (4, 4):
        bad.append(f"{name}: the first field is not struct_size")
    at = 0
    for f in fields:
        if f.bitsize:
            bad.append(f"{name}.{f.name} is a bit-field")
            return bad
        size, align = field_size(f, sizes)
        if not align:
            bad.append(f"{name}.{f.name} has type {size}")
            return bad
        if at % align:
            bad.append(f"{name}.{f.name} lies at {at}, which needs hidden padding")
        at += size
    if at % 8:
        bad.append(f"{name} ends at {at}, which needs hidden padding")
    sizes[name] = at
    return bad


def check_parser(count, root, options):
    if c_ast is None:
        count.skip("headers in pycparser", "no pycparser (package python3-pycparser)")
        return
    include = os.path.join(root, "include")
    trees = {}
    for name in headers(root):
        try:
            trees[name] = parse(options, include, f"#include <qdebug/{name}>\n")
            problem = ""
        except ParseError as e:
            problem = str(e)
        count.add(f"{name} in pycparser", problem)
    public, sizes = {}, {}
    for tree in trees.values():
        public.update(structs(tree))
    # quantizer.h's and the like come before the structs that contain them.
    names = sorted(public, key=lambda n: (any(isinstance(f.type, c_ast.TypeDecl) and getattr(
        f.type.type, "names", [""])[0] in public for f in public[n]), n))
    for name in names:
        count.add(f"rules for {name}", "\n".join(check_struct(name, public[name], sizes)))
    check_complete(count, root, public, sizes)
    check_bad_structs(count, options, include)


def check_complete(count, root, public, sizes):
    """test_abi_layout.c has every struct and every field, and no others."""
    with open(os.path.join(root, "tests", "abi", "test_abi_layout.c"), encoding="utf-8") as f:
        source = f.read()
    pinned = set(re.findall(r"^AT\((\w+), (\w+), \d+\);", source, flags=re.M))
    wanted = {(name, f.name) for name, fields in public.items() for f in fields}
    count.add("fields in test_abi_layout.c", "\n".join(
        f"{s}.{f} is in one place only" for s, f in sorted(pinned ^ wanted)))
    pinned_sizes = {n: int(s) for n, s in re.findall(r"^SIZE\((\w+), (\d+)\);", source, flags=re.M)}
    count.add("sizes in test_abi_layout.c", "" if pinned_sizes == sizes else
              f"{sorted(set(pinned_sizes.items()) ^ set(sizes.items()))}")


def check_bad_structs(count, options, include):
    for what, fields in BAD_STRUCTS.items():
        text = f"#include <stdint.h>\n#include <stddef.h>\ntypedef struct qdbg_s {{ {fields} }} qdbg_s;"
        found = check_struct("qdbg_s", structs(parse(options, include, text))["qdbg_s"], {})
        count.add(f"a struct that {what} is noticed",
                  "" if any(what in f for f in found) else f"found: {found}")
    try:
        parse(options, include, "typedef int qdbg_f(;\n")
        problem = "it was not noticed"
    except ParseError:
        problem = ""
    count.add("what pycparser cannot read is noticed", problem)


def main():
    parser = argparse.ArgumentParser(description="Check the public headers.")
    parser.add_argument("root", metavar="SOURCE_DIR")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cxx", default="c++")
    options = parser.parse_args()
    count = Count()
    check_alone(count, options.root, options)
    check_layout(count, options.root, options)
    check_parser(count, options.root, options)
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
