"""Train, val and test folders above the classes: what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from metabench.practice.parts import episodes, use_of


def listed(**counts: dict[str, int]) -> tuple[list[str], list]:
    """Labels and parts of ``part={label: count}``."""
    rows = [(c, part) for part, of in counts.items() for c, n in of.items() for _ in range(n)]
    return [label for label, _ in rows], [part for _, part in rows]


def test_a_folder_without_two_parts_says_nothing_of_them() -> None:
    assert use_of(["a", "b"], [None, None]).why == "" and use_of(["a", "b"], []).why == ""
    assert use_of(*listed(train={"a": 3, "b": 3})).why == (
        "train/ is the only part and is taken whole"
    )


@pytest.mark.case("03")
def test_parts_of_different_classes_are_learned_from_and_tested_on_as_the_folder_says() -> None:
    def named(start: str, count: int) -> dict[str, int]:
        return {f"{start}{i}": 4 for i in range(count)}

    found = use_of(*listed(train=named("a", 6), val=named("b", 5), test=named("c", 5)))
    assert all(
        part == {"a": "train", "b": "val", "c": "test"}[c[0]] for c, part in found.classes.items()
    )
    assert "6 classes are learned from, 5 choose the weights and 5 test them" in found.why
    found = use_of(*listed(train=named("a", 12), test=named("c", 5)))
    assert sorted(found.classes.values()) == ["test"] * 5 + ["train"] * 7 + ["val"] * 5
    assert {p for c, p in found.classes.items() if c[0] == "c"} == {"test"}
    few = use_of(*listed(train=named("a", 9), test=named("c", 5)))
    assert not few.classes and "different classes, but are taken together" in few.why


@pytest.mark.case("03")
def test_parts_of_the_same_classes_give_support_and_queries_as_the_folder_says() -> None:
    labels, parts = listed(train={"a": 6, "b": 4}, val={"a": 1, "b": 1}, test={"a": 5, "b": 3})
    found = use_of(labels, parts)
    assert (found.shots, found.queries) == (5, 3) and not found.classes
    assert (
        "support is of train/ and val/, of which class 'b' has the fewest, 5; queries" in found.why
    )
    y = np.array([label == "b" for label in labels]).astype(int)
    rows = episodes("mine", y, found, ways=2, shots=5, queries=3, count=4)
    asked = np.array(parts)[rows] == "test"
    assert not asked[..., :5].any() and asked[..., 5:].all()
    assert (y[rows] == y[rows][..., :1]).all() and len({str(e) for e in rows}) == 4
    assert all(len(set(e.ravel())) == e.size for e in rows)
    lacking = use_of(*listed(train={"a": 6, "b": 6}, test={"a": 5, "b": 2}))
    assert not lacking.query and "class 'b' has 2 in test/ and 6 elsewhere" in lacking.why
