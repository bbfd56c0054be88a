"""Classify handwritten digits from five examples of each, with a learner that never saw a digit.

    python examples/few_shot_classifier.py runs/glyphs/protonet/20000-examples/0

Nothing is trained: the learner comes from `make bench` (or any MLflow run id), `fit` hands it the
support, `predict` answers.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from metabench import FewShotClassifier


def main() -> None:
    """Five labelled digits of each class, three hundred to answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of a trained learner, or MLflow run id")
    parser.add_argument("--shots", type=int, default=5, help="labelled examples of each digit")
    arguments = parser.parse_args()

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # stored as 0 to 16
    support_x, query_x, support_y, query_y = train_test_split(
        images, labels, train_size=10 * arguments.shots, test_size=300, stratify=labels,
        random_state=0,
    )  # fmt: skip

    learner = FewShotClassifier.from_run(arguments.run).fit(support_x, support_y)
    probabilities = learner.predict_proba(query_x)
    accuracy = learner.score(query_x, query_y)
    name = f"{learner.cell_['method']} trained on {learner.cell_['source']}"
    print(f"{name}: accuracy {accuracy:.3f} with {arguments.shots} shots")
    for digit, p in zip(query_y[:3], probabilities[:3], strict=True):
        print(f"a {digit} is taken for a {learner.classes_[p.argmax()]} (p = {p.max():.2f})")


if __name__ == "__main__":
    main()
