"""The search: equal draws for all methods, trials that are kept, a choice on other episodes."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.files import InputError
from metabench.methods.base import Settings
from metabench.pipeline import trials
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import recipe
from metabench.pipeline.search_space import NothingToTune
from metabench.pipeline.studies import (
    ADAPTATION,
    AGAIN,
    FIRST,
    Row,
    Study,
    path_of,
    read,
    studies_of,
    write,
)
from metabench.pipeline.trials import episodes_of, trial_cell, with_settings
from metabench.pipeline.tuning import Search, Terms, methods_to_tune, search
from tests.pipeline.test_cells import prepared, silent
from tests.toy import TOY_NAME, params, toy_config

TERMS = Terms(trials=3, episodes=6, adaptations=3)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = toy_config()
    return config, prepared(tmp_path_factory.mktemp("tune"), config).root


@pytest.fixture
def serial(monkeypatch):
    """Jobs run here, and are counted by name."""
    ran: list[str] = []

    def run(jobs, compute, finished=lambda job: None) -> None:
        for job in jobs:
            if not job.finished:
                ran.append(job.name)
                name = job.function.partition(":")[2]
                getattr(trials, name)(report=silent, **job.arguments)
                finished(job)

    monkeypatch.setattr("metabench.pipeline.tuning.run_cells", run)
    return ran


def searching(project, method: str, terms: Terms = TERMS) -> Search:
    config, root = project
    return Search(config, root, TOY_NAME, method, terms)


def test_the_first_trial_is_params_and_the_others_are_drawn_alike_for_all_methods(project) -> None:
    protonet, maml = (searching(project, m, Terms(trials=10)).tried for m in ("protonet", "maml"))
    assert protonet[0]["lr"] == 1e-3 and maml[0]["lr"] == 3e-3
    shared = {"lr", "optimizer", "weight_decay"}
    for one, other in zip(protonet[1:], maml[1:], strict=True):
        assert {n: one[n] for n in shared} == {n: other[n] for n in shared}
    assert searching(project, "protonet").tried == protonet[:3]  # whatever is asked after them
    assert len({settings["lr"] for settings in protonet}) == 10


def test_seeds_of_a_search_are_of_the_first_split_and_none_of_the_board_s(project) -> None:
    board = toy_config(splits=2, seeds=[0, 1, 1000, 1001])
    one = Search(board, project[1], TOY_NAME, "protonet", TERMS)
    found = [one.seed, *one.fresh_seeds]
    assert len(set(found)) == 4 and not {*found} & {*board.seeds}
    assert {board.split_of(seed) for seed in found} == {0}


def test_no_two_trials_are_the_same_and_where_there_are_no_more_there_are_fewer(project) -> None:
    one = searching(project, "simpleshot", Terms(trials=40))
    assert [settings["pretraining"] for settings in one.tried] == [*range(32)]
    assert len(one.trials()) == 32
    fewer = searching(project, "simpleshot", Terms(trials=5)).tried
    assert fewer == one.tried[:5]  # whatever is asked after them


def test_trial_n_pretrains_as_trial_n_of_another_method_trains(project) -> None:
    config, _ = project
    shared = ("lr", "optimizer", "weight_decay", "augmentation")
    for number, settings in enumerate(searching(project, "protonet", Terms(trials=8)).tried):
        trained = recipe(config, TOY_NAME, number).model_dump()
        assert number == 0 or all(trained[n] == settings[n] for n in shared if n in settings)


def test_sgd_and_adamw_are_drawn_on_their_own_scales(project) -> None:
    found = searching(project, "baseline_plus_plus", Terms(trials=30)).tried[1:]
    rates = {o: [s["lr"] for s in found if s["optimizer"] == o] for o in ("adamw", "sgd")}
    assert np.median(rates["sgd"]) > 10 * np.median(rates["adamw"])
    assert min(map(len, rates.values())) > 8


def test_what_the_source_cannot_serve_is_not_drawn(project) -> None:
    values = params()
    values["classification"]["budget"]["examples"] = 20_000
    wide = Search(toy_config(**values), project[1], TOY_NAME, "protonet", Terms(trials=40))
    found = [Settings.model_validate(settings) for settings in wide.tried[1:]]
    for s in found:  # six classes of twelve examples
        assert (s.ways or 5) <= 6 and max(s.shots or (1, 2)) + s.queries <= 12
        assert s.tasks * (s.ways or 5) * (max(s.shots or (1, 2)) + s.queries) * 50 <= 20_000
    assert {s.shots for s in found} > {None, (1,), (5,)} and len({s.tasks for s in found}) > 3


def test_no_more_ways_are_drawn_than_the_share_of_the_classes_has(project) -> None:
    values = params()
    values["classification"]["budget"] |= {"examples": 60_000, "source_classes": 0.5}
    half = Search(toy_config(**values), project[1], TOY_NAME, "protonet", TERMS).space
    whole = searching(project, "protonet").space
    of_ways = {ways: Settings(ways=ways, queries=1, tasks=1, shots=(1,)) for ways in (3, 4)}
    assert half.can_be_served(of_ways[3]) and not half.can_be_served(of_ways[4])  # 3 of 6 classes
    assert whole.can_be_served(of_ways[4])


def test_a_small_budget_leaves_the_form_of_episodes_as_it_is(project) -> None:
    assert searching(project, "protonet").tried[2]["queries"] == 3  # 50 steps of 400 examples


def test_a_search_trains_scores_chooses_and_writes_a_table(project, serial) -> None:
    root, budget = project[1], {"examples": 64, "validations": 1, "val_episodes": 2}
    config = toy_config(classification=params()["classification"] | {"budget": budget})
    one = Search(config, root, TOY_NAME, "baseline_plus_plus", TERMS)
    (study,) = search([one], config.compute)
    counts = [len(study.of(part)) for part in (FIRST, AGAIN, "adaptation")]
    assert counts == [3, 9, 9]  # three seeds of three settings, three adaptations of three learners
    assert {row.seed for row in study.of(FIRST)} == {1000}  # none of the board's
    assert {row.seed for row in study.of(AGAIN)} == {1001, 1002, 1003}
    assert all(row.outer_steps > 0 for row in study.of(FIRST) if not row.diverged)
    again = study.of(AGAIN)
    means = {n: np.mean([r.score for r in again if r.number == n]) for n in study.best}
    assert study.winner.number == max(study.best, key=lambda n: means[n])
    assert read(path_of(root, "toy", TOY_NAME, "baseline_plus_plus")).best == study.best
    serial.clear()
    assert search([one], config.compute)[0].winner == study.winner
    assert not serial


def test_a_search_that_is_killed_keeps_its_finished_trials(project, serial) -> None:
    config, _ = project
    one = searching(project, "protonet")
    jobs = one.trials()
    trial_cell(silent, **jobs[1].arguments)
    assert [job.finished for job in one.trials()] == [False, True, False]
    assert not jobs[1].arguments["layout"].learner(TOY_NAME, "protonet", 1000).exists()
    longer = searching(project, "protonet", Terms(trials=4, episodes=6))
    assert [job.finished for job in longer.trials()] == [False, True, False, False]
    other = with_settings(config, TOY_NAME, "protonet", {"ways": 5, "queries": 2, "lr": 1e-3})
    changed = Search(other, project[1], TOY_NAME, "protonet", TERMS)
    assert not any(job.finished for job in changed.trials())


def test_a_table_that_another_machine_has_written_goes_on(project, serial, monkeypatch) -> None:
    config, root = project
    path = path_of(root, "toy", TOY_NAME, "protonet")
    one = searching(project, "protonet", Terms(trials=5, episodes=9))
    (study,) = search([one], config.compute)
    assert study.is_complete and serial
    table = path.read_text()
    shutil.rmtree(root / "studies/runs")
    serial.clear()
    applied = with_settings(config, TOY_NAME, "protonet", study.chosen)
    search([Search(applied, root, TOY_NAME, "protonet", one.terms)], config.compute)
    assert not serial and path.read_text() == table  # its first trial is what params.yaml was
    earlier = table.replace(study.code, "earlier")
    path.write_text(earlier)
    begun = [line for line in table.splitlines() if ",again," not in line]
    one.path_of_begun.write_text("\n".join([*begun[:2], *begun[3:]]) + "\n")  # without trial 1
    with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):
        killed.setattr(Search, "again", lambda self: 1 / 0)
        search([searching(project, "protonet", one.terms)], config.compute)
    assert one.path_of_begun not in studies_of("toy", root) and path.read_text() == earlier
    assert len(serial) == 1
    assert len(read(one.path_of_begun).of(FIRST)) == 5
    shutil.rmtree(root / "studies/runs")
    search([searching(project, "protonet", one.terms)], config.compute)
    assert len(serial) == 1 + 9 and not one.path_of_begun.exists()
    assert path.read_text().count(",again,") == 9
    path.write_text(table.replace(study.code, "another code"))
    other = searching(project, "protonet", one.terms)
    assert not other.begun.rows and other.name == study.name
    path.unlink()


def test_a_shorter_search_or_one_of_other_episodes_loses_nothing(project, serial) -> None:
    config, root = project
    path = path_of(root, "toy", TOY_NAME, "protonet")
    search([searching(project, "protonet", Terms(trials=5, episodes=9))], config.compute)
    shutil.rmtree(root / "studies/runs")
    search([searching(project, "protonet", Terms(trials=3, episodes=9))], config.compute)
    assert len(read(path).of(FIRST)) == 5
    one, other = (searching(project, "protonet", Terms(trials=5, episodes=n)) for n in (9, 10))
    assert one.path_of_begun != other.path_of_begun
    seeds = toy_config(seeds=[0, 1002])
    assert Search(seeds, root, TOY_NAME, "protonet", one.terms).name != one.name
    path.unlink()


def test_adaptation_on_the_learners_of_one_winner_is_not_taken_for_another_s(project) -> None:
    config, root = project
    one = Search(config, root, TOY_NAME, "knn", Terms(trials=5, episodes=9))
    numbers = range(len(one.tried))
    rows = [Row(FIRST, n, one.seed, one.tried[n], {"5w1s": 0.5 + n / 100}) for n in numbers]
    rows = [replace(row, settings={n: row.settings[n] for n in one.space.names}) for row in rows]
    again = [
        replace(rows[n], part=AGAIN, seed=seed)
        for n in Study(one.name, rows).best
        for seed in one.fresh_seeds
    ]
    adapted = [
        Row(ADAPTATION, n, seed, {"k": k}, {"5w1s": 0.5})
        for n, k in enumerate((1, 3, 5, 10))
        for seed in one.fresh_seeds
    ]
    table = Study(one.name, [*rows, *again, *adapted], one.code)
    write(table, one.path_of_begun)
    held = Search(config, root, TOY_NAME, "knn", one.terms).study()
    assert held.winner.number == numbers[-1] and held.of(ADAPTATION)
    better = [replace(r, scores={"5w1s": 0.9}) if r.number == 2 else r for r in [*rows, *again]]
    write(Study(one.name, [*better, *adapted[:3]], one.code), one.path)  # in which it is first
    write(Study(one.name, better, one.code), one.path_of_begun)
    other = Search(config, root, TOY_NAME, "knn", one.terms).study()
    assert other.winner.number != held.winner.number and not other.of(ADAPTATION)
    one.path_of_begun.unlink()
    one.path.unlink()


def test_hybrids_do_not_pretrain_with_the_rates_with_which_they_train(project) -> None:
    config, _ = project
    tried = searching(project, "meta_baseline", Terms(trials=20)).tried[1:]
    recipes = [recipe(config, TOY_NAME, settings["pretraining"]) for settings in tried]
    assert sum(r.lr == s["lr"] for r, s in zip(recipes, tried, strict=True)) == 0


def test_adaptation_goes_on_where_the_winner_s_learners_are_not(project, serial) -> None:
    config, root = project
    budget = {"examples": 64, "validations": 1, "val_episodes": 2}
    small = toy_config(classification=params()["classification"] | {"budget": budget})
    one = Search(small, root, TOY_NAME, "meta_sgd", TERMS)
    search([one], config.compute)
    table = one.path.read_text()
    one.path.write_text("".join(x + "\n" for x in table.splitlines() if ",adaptation," not in x))
    shutil.rmtree(root / "studies/runs")
    serial.clear()
    search([Search(small, root, TOY_NAME, "meta_sgd", TERMS)], config.compute)
    assert {name.partition(" ")[0] for name in serial} == {"adapt"}

    def scores(text: str) -> list[str]:
        """Without their seconds."""
        return [line.rsplit(",", 2)[0] for line in text.splitlines()]

    assert scores(one.path.read_text()) == scores(table)


def test_a_trial_that_diverges_is_recorded_with_its_reason(project) -> None:
    config, root = project
    one = Search(
        with_settings(config, TOY_NAME, "maml", {"lr": 1e5, "clip": 0.0, "inner_lr": 1e5}),
        root, TOY_NAME, "maml", TERMS,
    )  # fmt: skip
    (job, *_) = one.trials()
    trial_cell(silent, **job.arguments)
    (row,) = one.study().of(FIRST)
    assert row.diverged and "step" in row.diverged and not row.scores


def test_an_error_of_the_code_is_not_taken_for_divergence(project, monkeypatch) -> None:
    one = searching(project, "protonet", Terms(trials=2, episodes=7))
    (job, *_) = one.trials()

    def failing(error: Exception) -> None:
        def train(*arguments: object) -> None:
            raise error

        monkeypatch.setattr(trials, "train_cell", train)
        trial_cell(silent, **job.arguments)

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        failing(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not one.study().rows
    failing(torch.linalg.LinAlgError("the matrix is singular"))
    assert [row.diverged for row in one.study().rows] == ["the matrix is singular"]


def test_a_pretraining_that_diverges_is_a_fact_about_the_trials_that_start_from_it(
    project, serial
) -> None:
    config, root = project
    wild = {"lr": 1e6, "clip": 0.0, "optimizer": "sgd", "weight_decay": 1e3}
    one = Search(
        with_settings(config, TOY_NAME, "backbone", wild), root, TOY_NAME, "simpleshot", TERMS
    )
    (study,) = search([one], config.compute)
    first, *others = study.of(FIRST)
    assert first.settings["pretraining"] == 0 and "its pretraining diverges" in first.diverged
    assert all(row.scores and not row.diverged for row in others)
    assert study.winner.number > 0
    serial.clear()
    search([one], config.compute)
    assert not serial


def test_the_noise_of_episodes_is_that_of_a_mean(project) -> None:
    one = searching(project, "protonet", Terms(trials=3, episodes=40))
    trial_cell(silent, **one.trials()[0].arguments)
    (row,) = one.study().of(FIRST)
    assert row.noise is not None and 0 < row.noise < 0.5 / np.sqrt(40)


def test_trials_their_repetition_and_adaptation_have_episodes_of_their_own(project) -> None:
    config, root = project
    drawn = [
        next(iter(episodes_of(config, Layout(root), TOY_NAME, draws, 30)))
        for draws in (FIRST, AGAIN, "adaptation-1000", "adaptation-1001")
    ]
    assert len({frozen.hash for frozen in drawn}) == 4
    val = next(iter(Layout(root).episodes(TOY_NAME, "val").glob("*.npz")))
    assert val.exists() and all(len(frozen) == 30 for frozen in drawn)


def test_a_method_without_settings_to_search_is_named(project) -> None:
    with pytest.raises(NothingToTune, match="majority: has no setting"):
        searching(project, "majority")


def test_settings_are_tuned_at_the_middle_level_of_several(project) -> None:
    values = params()
    values["classification"]["budget"]["examples"] = [200, 400, 3200]
    several = Search(toy_config(**values), project[1], TOY_NAME, "protonet", TERMS)
    one = searching(project, "protonet")
    assert several.name == one.name and several.tried == one.tried
    (job, *_) = several.trials()
    assert job.arguments["config"].classification.budget.examples == (400,)


def test_only_methods_and_sources_that_are_known_are_tuned(project) -> None:
    config, _ = project
    assert methods_to_tune(config, TOY_NAME, []) == ("protonet",)
    with pytest.raises(InputError, match="unknown method"):
        methods_to_tune(config, TOY_NAME, ["protonett"])


def test_pretraining_is_chosen_with_the_method_s_own_settings_and_computed_once(project) -> None:
    probe, ridge = (searching(project, m, Terms(trials=6)) for m in ("linear_probe", "ridge"))
    recipes = [settings["pretraining"] for settings in probe.tried]
    assert recipes == [0, 1, 2, 3, 4, 5]
    assert recipes == [settings["pretraining"] for settings in ridge.tried]
    asked = [job.name for one in (probe, ridge) for job in one.pretrainings(one.trials())]
    assert len(set(asked)) == len(set(recipes)) and len(asked) == 2 * len(set(recipes))
    assert not searching(project, "protonet").pretrainings(searching(project, "protonet").trials())
