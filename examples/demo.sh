#!/bin/sh
# The main job in small, without any download: segment photographs with the weights that come with
# dsunet, fine-tune them to pictures of another kind, measure before and after, and leave one picture
# to look at.
# Usage: sh examples/demo.sh FOLDER   (FOLDER is made anew)
set -eu
out=${1:-demo}
here=$(dirname "$0")
if [ -e "$out" ] && [ ! -e "$out/.made-by-demo" ]; then
    echo "$out exists and was not made by this demo; name another folder" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"
touch "$out/.made-by-demo"

echo "1/5  segmenting three photographs"
python "$here/photographs.py" "$out/photographs" astronaut camera rocket
dsunet predict "$out/photographs" --output "$out/photographs-masks" --save probability,cutout --flips --zoom

echo "2/5  making pictures of another kind: 240 to train on, 40 to test"
dsunet generate --output "$out/train" --count 240 --size 160 --seed 0
dsunet generate --output "$out/test" --count 40 --size 160 --seed 1

echo "3/5  fine-tuning to them (about two minutes on two cores)"
dsunet train --data "$out/train" --val-fraction 0.15 --model dsunet-lite --sam-size 160 \
    --epochs 12 --warmup-epochs 1 --lr 5e-4 --encoder-lr 2e-4 --average 0.98 --output "$out/run"

echo "4/5  segmenting the test pictures and measuring, before and after"
dsunet predict "$out/test/images" --output "$out/before"
dsunet evaluate --predictions "$out/before" --masks "$out/test/masks" --json "$out/before.json"
dsunet predict "$out/test/images" --weights "$out/run" --output "$out/after"
dsunet evaluate --predictions "$out/after" --masks "$out/test/masks" --json "$out/after.json"

echo "5/5  drawing"
python "$here/draw_demo.py" "$out"
echo "look at $out/demo.png"
