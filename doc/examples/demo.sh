#!/bin/sh
# The demo: diagnose the Fashion-MNIST model at 8 bits on all 10,000 test images.
#
# usage: sh doc/examples/demo.sh
#
# Does everything itself, from a fresh Debian 12 on: installs what is missing (as root or through
# sudo), builds into build-demo/, converts the images, runs the diagnosis, and says where the HTML
# page lies. Can be run again at any time.
set -eu

cd "$(dirname "$0")/../.."
. tests/packages.sh
install_packages $BUILD_PACKAGES dataset-fashion-mnist

build=build-demo
[ -f $build/build.ninja ] || meson setup $build -Dtests=false -Dbench=false
meson compile -C $build

data=$build/fashion-mnist
python3 doc/examples/fashion_mnist_npy.py $data

$build/doc/examples/qdebug-diagnose doc/examples/fashion_mnist.onnx \
    --inputs $data/test_images_u8.npy --labels $data/test_labels_u8.npy \
    --calibration $data/train_images_1000_u8.npy --mean 72.94 --std 90.02 \
    --html $build/diagnosis.html --json $build/diagnosis.json --csv $build/diagnosis.csv

echo
echo "The report as a page: file://$PWD/$build/diagnosis.html"
echo "The same as JSON and CSV: $build/diagnosis.json, $build/diagnosis.csv"
