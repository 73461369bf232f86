#!/usr/bin/env bash
# The fourteen models of "Do the spaces agree?" in README.md: trains, evaluates and compares them in the folder $1, one
# at a time and on one thread (22 minutes of training, and measuring). $2 may name a file with their names, the best by
# eye first.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?a folder for the runs}
by_eye=${2:-}
gen() { cargo run --quiet --release --manifest-path "$here/../Cargo.toml" --bin gen -- "$@"; }

runs=()
for run in quick-gan-{20,60,180} quick-diffusion-{30,90,240} quick-vae-{15,60} quick-flow-{45,150} \
    glow-120 nsf-90 tarflow-150 flow++-90; do
    seconds=${run##*-}
    out=$folder/${run}s
    [ -e "$out" ] || gen train "${run%-*}" --data fashion-mnist --budget "${seconds}s" --seed 0 --threads 1 --out "$out"
    [ -e "$out/evaluation.csv" ] || gen evaluate "$out" --metrics fd --threads 1
    runs+=("$out")
done
gen features agree "${runs[@]}" ${by_eye:+--by-eye "$by_eye"}
