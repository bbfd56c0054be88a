from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.data.base import CHARACTERS, Dataset, TaskFamily
from metabench.data.formats import match_format
from metabench.episodes.frozen_episodes import FrozenEpisodes, freeze, freeze_tasks
from metabench.episodes.sampling import ArraySource, TaskSource
from metabench.files import InputError
from tests.toy import toy_dataset

CPU = torch.device("cpu")


def line(tasks: int, points: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = draw.uniform(-1, 1, (tasks, points, 1)).astype(np.float32)
    return x, x * draw.uniform(1, 2, (tasks, 1, 1)).astype(np.float32)


LINE = TaskFamily("line", 1, 1, line)


def test_training_episodes_hold_only_train_classes_and_true_labels() -> None:
    dataset = toy_dataset()
    episodes = ArraySource(dataset, 0, CPU).episodes(0, tasks=50, ways=5, shots=2, queries=3)
    lookup = {bytes(image): label for image, label in zip(dataset.x, dataset.y, strict=True)}
    images = (torch.cat([episodes.support_x, episodes.query_x], 1) * 255).round().byte().numpy()
    labels = torch.cat([episodes.support_y, episodes.query_y], 1).numpy()
    for task_images, task_labels in zip(images, labels, strict=True):
        true = np.array([lookup[image.tobytes()] for image in task_images])
        assert {dataset.classes[c].partition for c in true} == {"train"}
        assert all(len(set(true[task_labels == k])) == 1 for k in range(5))
        assert len(set(true)) == 5
        assert len({image.tobytes() for image in task_images}) == 25  # support and query disjoint


def test_every_class_and_example_is_drawn_about_equally_often() -> None:
    source = ArraySource(toy_dataset(), 0, CPU)
    episodes = source.episodes(0, tasks=2000, ways=3, shots=1, queries=1)
    images = torch.cat([episodes.support_x, episodes.query_x], 1).flatten(0, 1).flatten(1)
    _, counts = images.unique(dim=0, return_counts=True)
    assert len(counts) == 72
    assert counts.min() > 120 and counts.max() < 215  # expected 167, five standard deviations


def test_a_draw_depends_on_its_name_alone() -> None:
    source = ArraySource(toy_dataset(), 3, CPU)
    first = source.episodes(7, 2, 5, 1, 2)
    source.episodes(8, 2, 5, 1, 2)
    again = ArraySource(toy_dataset(), 3, CPU).episodes(7, 2, 5, 1, 2)
    other = source.episodes(9, 2, 5, 1, 2)
    assert torch.equal(first.support_x, again.support_x)
    assert not torch.equal(first.support_x, other.support_x)


def test_batches_of_an_epoch_cover_every_training_example_once() -> None:
    source = ArraySource(toy_dataset(), 0, CPU)
    batches = [source.batch(step, 24) for step in range(3)]  # 72 training examples
    images = torch.cat([b.x for b in batches]).flatten(1)
    assert len(images.unique(dim=0)) == 72
    labels = torch.cat([b.y for b in batches])
    assert labels.bincount().tolist() == [12] * 6


def test_augmentation_changes_the_images_of_training_and_nothing_else() -> None:
    source = ArraySource(replace(toy_dataset(), augmentation=CHARACTERS), 0, CPU)
    plain, same = source.episodes(3, 2, 5, 1, 2), source.episodes(3, 2, 5, 1, 2, 0.0)
    varied = source.episodes(3, 2, 5, 1, 2, 1.0)
    assert plain.augmentation == varied.augmentation == CHARACTERS
    for part in ("support", "query"):
        old, new = (getattr(e, f"{part}_x").flatten(0, 1) for e in (plain, varied))
        assert torch.equal(old, getattr(same, f"{part}_x").flatten(0, 1))
        assert old.shape == new.shape and ((old - new).flatten(1).abs().amax(1) > 0.1).all()
        assert torch.equal(getattr(plain, f"{part}_y"), getattr(varied, f"{part}_y"))
    batch, other = source.batch(0, 24), source.batch(0, 24, 0.5)
    assert torch.equal(batch.y, other.y) and not torch.allclose(batch.x, other.x, atol=0.1)
    identity = lambda x: x.flatten(2)  # noqa: E731
    features, labels = source.features(identity)
    seen, again = source.features(identity, augmentation=1.0)
    assert torch.equal(labels, again) and not torch.allclose(features, seen, atol=0.1)


def test_a_variant_is_named_by_seed_and_step() -> None:
    def support(seed: int, step: int, dataset: Dataset) -> torch.Tensor:
        return ArraySource(dataset, seed, CPU).episodes(step, 1, 5, 1, 2, 1.0).support_x

    one = replace(toy_dataset(), augmentation=CHARACTERS)
    alike = replace(one, x=np.broadcast_to(one.x[:1], one.x.shape))  # so that only draws differ
    first = support(0, 0, alike)
    assert torch.equal(first, support(0, 0, alike))
    assert not torch.equal(first, support(0, 1, alike))
    assert not torch.equal(first, support(1, 0, alike))
    assert len(first[0].flatten(1).unique(dim=0)) == 5, "every example has a draw of its own"
    assert torch.equal(support(0, 0, toy_dataset()), support(0, 0, replace(one, augmentation=())))


def test_too_few_examples_or_classes_is_an_error_that_names_them() -> None:
    source = ArraySource(toy_dataset(per_class=4), 0, CPU)
    with pytest.raises(InputError, match=r"dataset toy.*needs 6 examples.*only 4"):
        source.episodes(0, 1, 5, 1, 5)
    with pytest.raises(InputError, match=r"needs 9 classes, there are 5"):
        freeze(toy_dataset(), "test", 9, 1, 1, 2, "")


def test_frozen_episodes_are_the_same_every_time_and_extend_shorter_lists() -> None:
    dataset = toy_dataset()
    short = freeze(dataset, "test", 5, 1, 3, 4, "digest")
    long = freeze(dataset, "test", 5, 1, 3, 8, "digest")
    assert np.array_equal(short.indices, long.indices[:4])
    assert np.array_equal(short.order, long.order[:4])
    assert short.hash == freeze(dataset, "test", 5, 1, 3, 4, "digest").hash
    assert len({short.hash, long.hash, freeze(dataset, "test", 5, 1, 3, 4, "other").hash}) == 3


def test_frozen_episodes_hold_distinct_examples_of_the_partition_only() -> None:
    dataset = toy_dataset()
    frozen = freeze(dataset, "val", 5, 2, 3, 20, "")
    for episode in frozen.indices:
        assert len(np.unique(episode)) == episode.size
        labels = dataset.y[episode]
        assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 5
        assert {dataset.classes[c].partition for c in labels[:, 0]} == {"val"}


def test_frozen_episodes_survive_a_round_trip_and_damage_is_named(tmp_path) -> None:
    for frozen in (
        freeze(toy_dataset(), "test", 5, 1, 3, 4, "d"),
        freeze_tasks(LINE, "test", 5, 7, 4),
    ):
        path = tmp_path / "a.npz"
        frozen.save(path)
        loaded = FrozenEpisodes.load(path)
        assert (loaded.hash, loaded.queries, len(loaded)) == (frozen.hash, frozen.queries, 4)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(InputError, match=r"a\.npz: damaged"):
            FrozenEpisodes.load(path)


def test_what_is_asked_of_a_method_holds_no_label_of_a_query_and_no_order_of_classes() -> None:
    dataset = toy_dataset()
    frozen = freeze(dataset, "test", 5, 2, 3, 200, "")
    rows = torch.arange(len(dataset.x)).float()[:, None]
    asked, labels = frozen.episodes(slice(0, 200), rows)
    assert not asked.query_y.any() and asked.query_y.dtype == torch.int64
    truth = torch.from_numpy(dataset.y[asked.query_x[..., 0].long().numpy()])  # class in dataset
    named = torch.from_numpy(dataset.y[frozen.indices[:, :, 0]]).gather(1, labels)
    assert torch.equal(truth, named)  # each label is that of its own query
    assert labels.sort(1).values.equal(torch.arange(5).repeat_interleave(3).expand(200, -1))
    # at each place every class comes as often: 40 times of 200, with a deviation of 5.7
    counts = torch.stack([(labels == c).sum(0) for c in range(5)])
    assert counts.min() > 15 and counts.max() < 65
    assert len({tuple(order) for order in frozen.order.tolist()}) == 200
    assert asked.support_y[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]  # the support may be known


@pytest.mark.parametrize("shots", [1, 2])
def test_queries_class_by_class_are_nowhere_in_the_memory_that_a_method_gets(shots) -> None:
    dataset = toy_dataset()
    frozen = freeze(dataset, "test", 5, shots, 3, 4, "")
    asked, _ = frozen.episodes(slice(0, 4), torch.arange(len(dataset.x)).float()[:, None])
    for part in (asked.support_x, asked.query_x):
        memory = part.new_empty(0).set_(part.untyped_storage())  # all that it is a view of
        assert memory.sort().values.equal(part.flatten().sort().values)


def test_targets_of_regression_queries_are_nowhere_in_the_memory_that_a_method_gets() -> None:
    frozen = freeze_tasks(LINE, "test", 5, 7, 4)
    asked, targets = frozen.episodes(slice(0, 4), None)
    assert not asked.query_y.any() and targets.shape == (4, 7, 1)
    assert np.array_equal(targets.numpy(), frozen.points[1][:, 5:])
    for part in (asked.support_x, asked.support_y, asked.query_x, asked.query_y):
        memory = part.new_empty(0).set_(part.untyped_storage())  # all that it is a view of
        assert not np.isin(targets.numpy(), memory.numpy()).any()
    asked.query_x.zero_()  # nor can it change what others are asked
    assert frozen.points[0][:, 5:].all()


def test_episodes_that_were_changed_or_are_of_other_code_are_refused_with_the_fix(tmp_path) -> None:
    path = tmp_path / "5w1s.npz"
    for frozen in (
        freeze(toy_dataset(), "test", 5, 1, 3, 4, "d"),
        freeze_tasks(LINE, "test", 5, 7, 4),
    ):
        frozen.save(path)
        with np.load(path) as file:
            whole = dict(file)
        for name, value in whole.items():
            if name in ("version", "dataset"):
                continue
            changed = value.copy() if value.ndim else np.array("other")
            if value.ndim:
                changed.flat[[0, 1]] = changed.flat[[1, 0]]
            elif value.dtype.kind == "i":
                changed = value + 1
            np.savez(path, **(whole | {name: changed}))
            with pytest.raises(
                InputError, match=r"5w1s\.npz.*changed.*Delete it and run `dvc repro`"
            ):
                FrozenEpisodes.load(path)
        older = {name: value for name, value in whole.items() if name not in ("version", "order")}
        np.savez(path, **older)
        with pytest.raises(InputError, match=r"5w1s\.npz: episodes of version 1.*`dvc repro`"):
            FrozenEpisodes.load(path)
        np.savez(path, **whole)
        assert FrozenEpisodes.load(path).hash == frozen.hash


def test_regression_episodes_share_the_task_between_support_and_query() -> None:
    episodes = TaskSource(LINE, 0, CPU).episodes(0, tasks=6, ways=0, shots=3, queries=4)
    slopes = torch.cat(
        [episodes.support_y / episodes.support_x, episodes.query_y / episodes.query_x], dim=1
    )
    assert slopes.shape == (6, 7, 1) and episodes.ways is None
    assert (slopes.amax(1) - slopes.amin(1)).max() < 1e-5
    assert slopes[:, 0].unique().numel() == 6


def test_conform_gives_the_source_format_and_leaves_equal_formats_alone() -> None:
    colour = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert match_format(colour, (3, 32, 32)) is colour
    grey = match_format(colour, (1, 16, 16))
    assert grey.shape == (4, 1, 16, 16) and grey.dtype == torch.uint8
    assert abs(float(grey.float().mean()) - float(colour.float().mean())) < 1
    assert match_format(grey, (3, 16, 16))[:, 0].equal(match_format(grey, (3, 16, 16))[:, 2])
