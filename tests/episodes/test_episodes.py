from __future__ import annotations

import torch

from metabench.episodes import Episodes, class_means, restore_names, task_loss


def episodes(labels: list[list[int]], ways: int = 3) -> Episodes:
    y = torch.tensor(labels)
    x = torch.arange(y.numel(), dtype=torch.float).reshape(*y.shape, 1)
    return Episodes(x, y, x, y, ways)


def test_slots_follow_the_order_of_first_appearance() -> None:
    renamed, slot = episodes([[2, 0, 2, 1], [1, 1, 0, 2]]).by_appearance()
    assert renamed.support_y.tolist() == [[0, 1, 0, 2], [0, 0, 1, 2]]
    assert slot.tolist() == [[1, 2, 0], [1, 0, 2]]


def test_renaming_classes_gives_the_same_slots() -> None:
    original = episodes([[2, 0, 2, 1]])
    renaming = torch.tensor([1, 2, 0])
    renamed = episodes([renaming[original.support_y[0]].tolist()])
    assert torch.equal(original.by_appearance()[0].support_y, renamed.by_appearance()[0].support_y)


def test_restored_logits_belong_to_the_original_names() -> None:
    _, slot = episodes([[2, 0, 2, 1]]).by_appearance()
    by_slot = torch.tensor([[[10.0, 20.0, 30.0]]])  # class 2 is slot 0, 0 is slot 1, 1 is slot 2
    assert restore_names(by_slot, slot).tolist() == [[[20.0, 30.0, 10.0]]]


def test_classes_without_support_take_the_remaining_slots() -> None:
    _, slot = episodes([[2, 2]], ways=4).by_appearance()
    assert slot.tolist() == [[1, 2, 0, 3]]


def test_class_means_of_unbalanced_support() -> None:
    x = torch.tensor([[[1.0], [3.0], [10.0]]])
    assert class_means(x, torch.tensor([[1, 1, 0]]), 2).tolist() == [[[10.0], [2.0]]]


def test_task_loss_keeps_tasks_apart() -> None:
    outputs = torch.tensor([[[0.0]], [[2.0]]])
    assert task_loss(outputs, torch.zeros(2, 1, 1)).tolist() == [0.0, 4.0]
