"""Writes images/: PNG and JPEG files of all kinds from Pillow, and images.txt: what Pillow reads and resizes.

The pictures are gradients with some noise, 12 wide and 10 high.
"""
import pathlib

import numpy as np
from PIL import Image

here = pathlib.Path(__file__).parent / "images"
here.mkdir(exist_ok=True)
rng = np.random.default_rng(7)
height, width = 10, 12
ramp = np.linspace(0, 255, height)[:, None, None] * 0.4 + np.linspace(0, 255, width)[None, :, None] * 0.5
colour = (ramp * np.array([1.0, 0.7, 0.4]) + rng.uniform(0, 25, (height, width, 3))).astype(np.uint8)
grey = colour[..., 0]
alpha = rng.integers(0, 256, (height, width), dtype=np.uint8)

pictures = {
    "grey.png": Image.fromarray(grey),
    "grey16.png": Image.fromarray(grey.astype(np.uint16) * 257),
    "grey_alpha.png": Image.fromarray(np.dstack([grey, alpha]), "LA"),
    "colour.png": Image.fromarray(colour),
    "alpha.png": Image.fromarray(np.dstack([colour, alpha]), "RGBA"),
    "palette.png": Image.fromarray(colour).quantize(16),
    "grey.jpg": Image.fromarray(grey),
    "colour.jpg": Image.fromarray(colour),
    "progressive.jpg": Image.fromarray(colour),
}
with open(here.parent / "images.txt", "w") as golden:
    def line(name, values):
        print(name, *(f"{v:g}" for v in np.asarray(values).reshape(-1)), file=golden)

    for name, picture in pictures.items():
        options = {"quality": 92, "subsampling": 0, "progressive": name.startswith("progressive")} if "jpg" in name else {}
        picture.save(here / name, **options)
        read = Image.open(here / name)
        grey_kind = read.mode in ("L", "LA", "I;16", "I")
        pixels = np.asarray(read) // 257 if name == "grey16.png" else np.asarray(read.convert("LA" if grey_kind else "RGB"))
        line(name, pixels[..., 0] if grey_kind and pixels.ndim == 3 else pixels)
    source = Image.fromarray(colour)
    for name, size, box in (("down", 4, (0, 0, width, height)), ("up", 17, (0, 0, width, height)),
                            ("crop", 6, (2.5, 1.25, 10.25, 8.5))):
        line(f"resize.{name}", np.asarray(source.resize((size, size), Image.Resampling.BILINEAR, box=box)))
