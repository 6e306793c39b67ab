#!/bin/sh
# The main job in small, without any download: make a set of pictures, train the smallest model on
# it, segment pictures that it has not seen, measure, and leave one picture to look at.
# Usage: sh examples/demo.sh FOLDER   (FOLDER is made anew)
set -eu
out=${1:-demo}
if [ -e "$out" ] && [ ! -e "$out/.made-by-demo" ]; then
    echo "$out exists and was not made by this demo; name another folder" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"
touch "$out/.made-by-demo"

echo "1/5  making 240 training and 40 test pictures"
dsunet generate --output "$out/train" --count 240 --size 160 --seed 0
dsunet generate --output "$out/test" --count 40 --size 160 --seed 1

echo "2/5  training dsunet-nano from random weights (a few minutes on two cores)"
dsunet train --data "$out/train" --val-fraction 0.1 --model dsunet-nano \
    --sam-size 128 --dino-size 112 --epochs 24 --warmup-epochs 1 --clip-grad-norm 1 --output "$out/run"

echo "3/5  segmenting the test pictures"
dsunet predict "$out/test/images" --weights "$out/run" --output "$out/predictions" \
    --save probability,overlay

echo "4/5  measuring"
dsunet evaluate --predictions "$out/predictions/probability" --masks "$out/test/masks" \
    --json "$out/scores.json"

echo "5/5  drawing"
python "$(dirname "$0")/draw_demo.py" "$out"
echo "look at $out/demo.png"
