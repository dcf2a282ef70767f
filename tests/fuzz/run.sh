#!/bin/sh
# Runs a libFuzzer target from its corpus, which stays as it is; always the same inputs.
# usage: run.sh TARGET CORPUS RUNS
set -eu
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
"$1" -runs="$3" -seed=1 -max_len=65536 -rss_limit_mb=4096 -artifact_prefix="$1-" "$found" "$2"
