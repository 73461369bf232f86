#!/bin/sh
# Records a training step and samples of a small model of each kind for `peers.rs`, a test of the family crates.
#
#     sh xtask/peers/record.sh GEN PYTHON [NAME...]
#
# GEN is the program of this workspace, PYTHON one that has torch and safetensors. With names, only those are recorded.
set -eu
gen=$1 python=$2
shift 2
names=" $* "
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

# Two full vectors of 16 numbers or five of 8, and an odd remainder.
batch=43

record() {
    crate=$1 name=$2
    shift 2
    case $names in "  " | *" $name "*) ;; *) return 0 ;; esac
    # After some steps, layers that start at zero have gradients, and layers have been initialised from data.
    printf 'train 20\nexport %s\n' "$folder/$name" |
        "$gen" bench "$@" --set batch_size=$batch --threads 1 >"$folder/log"
    "$python" "$root/xtask/peers/record.py" "$folder/$name" \
        "$root/crates/$crate/tests/vectors/step-$name.safetensors" \
        "$(echo "gen bench $* --set batch_size=$batch: train 20, export" | sed "s|$folder/||")"
}

# Images larger than the digits, so that a network halves them twice.
"$python" - "$folder/waves.npy" <<'END'
import sys
import numpy as np
image, y, x = np.ogrid[:400, :16, :16]
waves = np.sin(0.3 * x + 0.011 * image) * np.sin(0.5 * y + 0.017 * image)
np.save(sys.argv[1], np.round(127.5 + 127.5 * waves).astype(np.uint8)[:, None])
END

record gen-gan dcgan quick-gan --data "npy:$folder/waves.npy" --set latent_dim=8 --set generator_width=4 \
    --set discriminator_width=4
record gen-gan dcgan-r1 quick-gan --data "npy:$folder/waves.npy" --set latent_dim=8 --set generator_width=4 \
    --set discriminator_width=4 --set discriminator_batch_norm=false --set penalty=r1 --set penalty.gamma=2
record gen-vae vae quick-vae --data digits --set latent_dim=3 --set 'widths=[4,6]' --set prior.layers=2
record gen-vae vae-mlp quick-vae --data digits --set network=mlp --set latent_dim=3 --set 'widths=[16,12]' \
    --set prior=standard-normal --set binarise=static --set beta=0.25
record gen-flow realnvp quick-flow --data digits --set couplings=2 --set width=4 --set blocks=1 \
    --set dense_couplings=2 --set dense_width=8
record gen-flow realnvp-moons quick-flow --data moons --set couplings=3 --set 'hidden=[8,8]'
record gen-flow maf maf --data moons --set transforms=3 --set 'hidden=[8,8]'
record gen-flow nsf nsf --data moons --set transforms=3 --set 'hidden=[8,8]' --set bins=4
record gen-flow nsf-ar nsf-ar --data moons --set transforms=3 --set 'hidden=[8,8]' --set bins=4
record gen-diffusion ddpm quick-diffusion --data digits --set 'network.channels=[4,8]' --set patch=1
record gen-diffusion ddpm-patches quick-diffusion --data digits --set 'network.channels=[4,4]' \
    --set patch=2 --set heads=2 \
    --set network.blocks=2
