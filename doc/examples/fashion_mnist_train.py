#!/usr/bin/python3
"""Train the demo model: a small MobileNet for Fashion-MNIST, written as ONNX.

usage: fashion_mnist_train.py [--data DIR] [--epochs N] [--threads N] [--seed N] [OUT.onnx]

Needs Debian 12's packages python3-torch and dataset-fashion-mnist. OUT.onnx is by default
fashion_mnist.onnx beside this script. The model:

    input    float32 [N,1,28,28], each pixel (0..255) as (pixel - 72.94) / 90.02
    logits   float32 [N,10]

It is a plain chain, as MobileNet v1 is: a 3x3 convolution, then blocks of depthwise 3x3 and
pointwise 1x1, each convolution followed by BatchNormalization and ReLU6 (Clip 0..6), then global
average pooling and one Gemm. The file keeps the BatchNormalization nodes apart (not folded into
the convolutions): folding them, and repairing what that does to the weight ranges, is what the
model is there to show.

With the default seed one of the 16 stem channels dies in training (its ReLU6 gives 0 on every
image). The variance of the depthwise channel behind it goes to 0, so folding multiplies that
channel's weights by about 1 / sqrt(epsilon) = 316, and one scale for the whole tensor leaves the
other channels hardly any of its steps. MobileNets are known for this; nothing here provokes it.

The same seed, number of threads and kind of CPU give the same file. Anything else rounds otherwise
in training and gives another model, perhaps without a dead channel.
"""

import argparse
import os
import sys
import time
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

import fashion_mnist_npy as dataset

MEAN, STD = 72.94, 90.02  # of the 60,000 training images, in units of the pixels

STEM = 16
BLOCKS = [  # output channels, stride of the depthwise convolution
    (32, 2),   # 28x28 -> 14x14
    (64, 1),
    (128, 2),  # 14x14 -> 7x7
    (128, 1),
    (128, 1),
]

BATCH = 128
PEAK_LR = 0.2
WEIGHT_DECAY = 5e-4
SHIFT = 2  # pixels


def conv_bn_relu6(prefix, cin, cout, kernel, stride=1, groups=1):
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [(prefix + "conv", conv), (prefix + "bn", nn.BatchNorm2d(cout)),
            (prefix + "relu6", nn.ReLU6())]


def build():
    """The layers' names become the node names of the ONNX file."""
    layers = [("stem", nn.Sequential(OrderedDict(conv_bn_relu6("", 1, STEM, 3))))]
    cin = STEM
    for i, (cout, stride) in enumerate(BLOCKS, 1):
        block = conv_bn_relu6("dw_", cin, cin, 3, stride, groups=cin)
        block += conv_bn_relu6("pw_", cin, cout, 1)
        layers.append((f"block{i}", nn.Sequential(OrderedDict(block))))
        cin = cout
    layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()),
               ("classifier", nn.Linear(cin, 10))]
    return nn.Sequential(OrderedDict(layers))


def load(data, part, count):
    """Return images [count,28,28] and labels [count], both uint8."""
    images, labels = dataset.load(data, part, count)
    images = torch.frombuffer(bytearray(images), dtype=torch.uint8).view(count, 28, 28)
    return images, torch.frombuffer(bytearray(labels), dtype=torch.uint8)


def normalize(images):
    return (images.unsqueeze(1).float() - MEAN) / STD


def augment(padded):
    """Shift and flip at random: one gather from images with a border of SHIFT black pixels."""
    n = len(padded)
    at = torch.arange(28)
    dy, dx = torch.randint(0, 2 * SHIFT + 1, (2, n, 1))
    flip = torch.rand(n, 1) < 0.5
    rows = at + dy
    cols = torch.where(flip, 27 - at, at) + dx
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], cols[:, None, :]]


def parameter_groups(model):
    """Weight decay for dense convolutions and the classifier only.

    As in MobileNet's training: a depthwise filter has too few weights to overfit, and decay on
    batch-norm parameters is no regularizer.
    """
    decay, free = [], []
    for module in model.modules():
        dense = isinstance(module, nn.Linear) or getattr(module, "groups", 0) == 1
        for name, p in module.named_parameters(recurse=False):
            (decay if dense and name == "weight" else free).append(p)
    return [{"params": decay, "weight_decay": WEIGHT_DECAY}, {"params": free}]


def train(model, images, labels, epochs):
    padded = F.pad(images, (SHIFT,) * 4)
    labels = labels.long()
    steps = len(images) // BATCH
    optimizer = torch.optim.SGD(parameter_groups(model), PEAK_LR, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, epochs * steps,
                                                   pct_start=0.2, cycle_momentum=False)
    for epoch in range(epochs):
        model.train()
        start, total = time.monotonic(), 0.0
        for batch in torch.randperm(len(images))[:steps * BATCH].split(BATCH):
            loss = F.cross_entropy(model(normalize(augment(padded[batch]))), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}, "
              f"{time.monotonic() - start:.0f} s", flush=True)


@torch.no_grad()
def top1(model, images, labels):
    model.eval()
    hits = sum((model(normalize(x)).argmax(1) == y).sum().item()
               for x, y in zip(images.split(500), labels.split(500)))
    return hits / len(images)


@torch.no_grad()
def count_macs(model):
    """Multiply-accumulates of convolutions and classifier for one image."""
    macs = 0

    def add(module, _, output):
        nonlocal macs
        macs += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(add) for m in model.modules()
             if isinstance(m, (nn.Conv2d, nn.Linear))]
    model.eval()(torch.zeros(1, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    return macs


def export(model, path):
    # TrainingMode.EVAL would fold batch norm into the convolutions. PRESERVE does not, and takes
    # each layer's mode from the model: in eval() the nodes are inference nodes.
    torch.onnx.export(model.eval(), torch.zeros(1, 1, 28, 28), path, opset_version=13,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["input"], output_names=["logits"],
                      dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Train the demo model and write it as ONNX.")
    parser.add_argument("out", metavar="OUT.onnx", nargs="?",
                        default=os.path.join(here, "fashion_mnist.onnx"),
                        help="default: fashion_mnist.onnx beside this script")
    parser.add_argument("--data", metavar="DIR", default=dataset.DATA,
                        help="folder of the idx .gz files (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    if not os.path.isdir(os.path.dirname(os.path.abspath(args.out))):
        parser.error(f"{args.out}: no such folder")  # now, not after ten minutes of training

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    try:
        train_images, train_labels = load(args.data, "train", 60000)
        test_images, test_labels = load(args.data, "t10k", 10000)
    except dataset.DataError as e:
        print(f"fashion_mnist_train.py: {e}", file=sys.stderr)
        return 1

    model = build()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, "
          f"{count_macs(model)} multiply-accumulates an image", flush=True)
    start = time.monotonic()
    train(model, train_images, train_labels, args.epochs)
    print(f"trained in {time.monotonic() - start:.0f} s")
    print(f"top-1 on the test images: {top1(model, test_images, test_labels):.4f}")
    export(model, args.out)
    print(f"{args.out}: {os.path.getsize(args.out)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
