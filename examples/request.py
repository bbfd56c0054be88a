"""Write a request to a served learner: tell threes from sevens, from five examples of each.

python examples/request.py > request.json
"""

import base64
import io
import json

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SHOTS, QUERIES = 5, 3


def png(pixels: np.ndarray) -> str:
    """An image file in base64; the digits are stored as 0 to 16."""
    file = io.BytesIO()
    Image.fromarray((pixels * (255 / 16)).astype(np.uint8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """One task of two classes; the answers should be three times "three", then "seven"."""
    digits = load_digits()
    task: dict[str, list[str]] = {"support_x": [], "support_y": [], "query_x": []}
    for digit, name in ((3, "three"), (7, "seven")):
        images = [png(pixels) for pixels in digits.images[digits.target == digit]]
        task["support_x"] += images[:SHOTS]
        task["support_y"] += [name] * SHOTS
        task["query_x"] += images[SHOTS : SHOTS + QUERIES]
    print(json.dumps({"inputs": [task]}))


if __name__ == "__main__":
    main()
