"""A file of `dsunet export` without dsunet: numpy, Pillow and onnxruntime are all it takes.

    python onnx_alone.py lite.onnx photo.jpg mask.png

What the model needs to know stands in the file: the view's size, mean and deviation.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main(model: str, photo: str, mask: str) -> None:
    """Segments a picture and writes its map, 0 to 255, at the picture's own size."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["dsunet"])
    picture = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")

    views = []
    for height, width in filter(None, about["views"]):  # two of models with two encoders
        view = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
        view = (view / 255 - about["preprocessing"]["mean"]) / about["preprocessing"]["std"]
        views.append(view.transpose(2, 0, 1)[None].astype(np.float32))

    names = [given.name for given in session.get_inputs()]
    [logits] = session.run(["logits"], dict(zip(names, views, strict=True)))
    logits = Image.fromarray(logits[0, 0]).resize(picture.size, Image.Resampling.BILINEAR)
    probability = 1 / (1 + np.exp(-np.asarray(logits)))
    Image.fromarray(np.round(255 * probability).astype(np.uint8)).save(mask)


if __name__ == "__main__":
    main(*sys.argv[1:])
