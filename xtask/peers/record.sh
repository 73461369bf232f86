#!/bin/sh
# Records a training step of a small model of each kind for the tests of the family crates (tests/peers.rs).
#
#     sh xtask/peers/record.sh GEN PYTHON
#
# GEN is the program of this workspace, PYTHON one that has torch and safetensors.
set -eu
gen=$1 python=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

record() {
    crate=$1 name=$2
    shift 2
    # After some steps, layers that start at zero have gradients, and what starts from data has started.
    printf 'train 20\nexport %s\n' "$folder/$name" | "$gen" bench "$@" --set batch_size=8 --threads 1 >"$folder/log"
    "$python" "$root/xtask/peers/record.py" "$folder/$name" \
        "$root/crates/$crate/tests/vectors/step-$name.safetensors" "gen bench $* --set batch_size=8: train 20, export"
}

record gen-gan dcgan dcgan --data digits --set latent=8 --set generator_width=4 --set discriminator_width=4
record gen-vae vae vae --data digits --set latent_dim=3 --set 'widths=[4,6]' --set prior_layers=2
record gen-vae vae-mlp vae --data digits --set network=mlp --set latent_dim=3 --set 'widths=[16,12]' \
    --set prior_layers=0 --set binarise=static
record gen-flow realnvp realnvp --data digits --set couplings=2 --set width=4 --set blocks=1 \
    --set dense_couplings=2 --set dense_width=8
record gen-flow realnvp-moons realnvp --data moons --set couplings=3 --set 'hidden=[8,8]'
record gen-flow maf maf --data moons --set transforms=3 --set 'hidden=[8,8]'
record gen-flow nsf nsf --data moons --set transforms=3 --set 'hidden=[8,8]' --set bins=4
record gen-flow nsf-ar nsf-ar --data moons --set transforms=3 --set 'hidden=[8,8]' --set bins=4
record gen-diffusion ddpm ddpm --data digits --set 'network.channels=[4,8]' --set patch=1
