#!/usr/bin/env python3
"""Convert Debian's Fashion-MNIST (package dataset-fashion-mnist) to .npy files.

usage: fashion_mnist_npy.py [--data DIR] OUTDIR

Writes into OUTDIR, which is created if it does not exist:

    test_images_u8.npy         uint8 [10000,1,28,28]
    test_labels_u8.npy         uint8 [10000]
    train_images_1000_u8.npy   uint8 [1000,1,28,28]: the first training images, for calibration

Pixels stay as they are, 0..255; the demo model expects (pixel - 72.94) / 90.02.
Needs nothing but Python's standard library. On failure: one line on stderr, exit status 1.
"""

import argparse
import gzip
import math
import os
import struct
import sys
import zlib

DATA = "/usr/share/datasets/fashion-mnist"
CALIBRATION_IMAGES = 1000


class DataError(Exception):
    """The dataset is missing or not what it should be; the text is for the user."""


def read_idx(path, shape):
    """Return the bytes of a gzipped idx file that must hold uint8 values of this shape."""
    try:
        with gzip.open(path) as f:
            raw = f.read()
    except FileNotFoundError:
        raise DataError(f"{path}: not found; install the package dataset-fashion-mnist") from None
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: cannot read: {e}") from None

    # Two zero bytes, the type (8 = uint8), the rank, one big-endian uint32 a dimension, the values.
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    if raw[:4] != header[:4]:
        raise DataError(f"{path}: magic number is 0x{raw[:4].hex()}, not 0x{header[:4].hex()}")
    if raw[4:len(header)] != header[4:]:
        raise DataError(f"{path}: dimensions are not {list(shape)}")
    if len(raw) != len(header) + math.prod(shape):
        raise DataError(f"{path}: {len(raw)} bytes, not {len(header) + math.prod(shape)}")
    return raw[len(header):]


def load(data, part, count):
    """Return (images, labels) as bytes; part is "train" or "t10k", count its number of images."""
    images = read_idx(os.path.join(data, f"{part}-images-idx3-ubyte.gz"), (count, 28, 28))
    path = os.path.join(data, f"{part}-labels-idx1-ubyte.gz")
    labels = read_idx(path, (count,))
    if max(labels) > 9:
        raise DataError(f"{path}: label {max(labels)} is above 9")
    return images, labels


def write_npy(path, shape, values):
    """Write uint8 values as a version 1.0 .npy file."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    # The format wants the values to begin at a multiple of 64; 10 bytes stand before the header.
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii"))
        f.write(values)


def convert(data, outdir):
    test_images, test_labels = load(data, "t10k", 10000)
    train_images, _ = load(data, "train", 60000)
    n = CALIBRATION_IMAGES
    os.makedirs(outdir, exist_ok=True)
    write_npy(os.path.join(outdir, "test_images_u8.npy"), (10000, 1, 28, 28), test_images)
    write_npy(os.path.join(outdir, "test_labels_u8.npy"), (10000,), test_labels)
    write_npy(os.path.join(outdir, f"train_images_{n}_u8.npy"), (n, 1, 28, 28),
              train_images[:n * 28 * 28])


def main():
    parser = argparse.ArgumentParser(description="Convert Debian's Fashion-MNIST to .npy files.")
    parser.add_argument("outdir", metavar="OUTDIR", help="where the .npy files go")
    parser.add_argument("--data", metavar="DIR", default=DATA,
                        help="folder of the idx .gz files (default: %(default)s)")
    args = parser.parse_args()
    try:
        convert(args.data, args.outdir)
    except (DataError, OSError) as e:
        print(f"fashion_mnist_npy.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
