from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from metabench.data.digits import DIGITS


def test_digits_are_ten_test_classes_of_28_by_28_images():
    dataset = DIGITS.build(Path("unused"))
    assert dataset.x.shape == (1797, 1, 28, 28)
    assert dataset.x.dtype == np.uint8
    assert len(dataset.class_ids("test")) == 10
    assert len(dataset.class_ids("train")) == len(dataset.class_ids("val")) == 0


def test_enlarging_keeps_the_image_and_the_label():
    dataset = DIGITS.build(Path("unused"))
    original = load_digits()
    # a nearest-neighbour reduction of the enlarged image is close to the original
    centres = np.round(np.arange(8) * 3.5 + 1.25).astype(int)
    small = dataset.x[:, 0][:, centres][:, :, centres]
    correlation = np.corrcoef(small.ravel(), original.images.ravel())[0, 1]
    assert correlation > 0.97
    assert dataset.x.max() > 240
    np.testing.assert_array_equal(dataset.y, original.target)
