"""Own data: what is read, what is left out, what is recommended, what is exported."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from typer.testing import CliRunner

from metabench import FewShotClassifier
from metabench.cli import app
from metabench.data.own import UserData, bright_background, read_images, read_texts
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import InputError, read_json
from metabench.practice.recommending import recommend
from metabench.practice.running import arrays, claim, plan, run_plan
from metabench.practice.service import FewShotModel, FewShotTask
from metabench.reports.scores import BINS
from tests.toy import TOY_NAME


def fill(folder: Path, classes: int, count: int = 8, suffix: str = "png") -> None:
    """Noisy copies of a dark template on a bright ground, one for each class."""
    draw = np.random.default_rng(0)
    for c in range(classes):
        template = draw.integers(0, 120, (16, 16))
        (folder / f"klasse {c} é").mkdir(parents=True)
        for i in range(count):
            image = np.full((20, 24), 230, np.uint8)
            image[2:18, 4:20] = template + draw.integers(0, 20, (16, 16))
            Image.fromarray(image).save(folder / f"klasse {c} é" / f"{i}.{suffix}")


def test_what_cannot_be_used_is_listed_with_its_reason_and_the_rest_is_kept(tmp_path) -> None:
    fill(tmp_path, classes=3)
    first = tmp_path / "klasse 0 é"
    (first / "broken.png").write_bytes((first / "0.png").read_bytes()[:60])
    (first / "notes.txt").write_text("no image")
    (first / ".hidden").write_text("")
    (first / "copy.png").write_bytes((first / "0.png").read_bytes())
    (tmp_path / "klasse 1 é" / "of another.png").write_bytes((first / "1.png").read_bytes())
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    Image.new("RGB", (5, 5)).save(tmp_path / "few" / "0.jpg")
    user_data = read_images(tmp_path)
    assert user_data.classes == [f"klasse {c} é" for c in range(3)] and user_data.smallest == 7
    reasons = dict(user_data.skipped)
    assert reasons.keys() == {
        "klasse 0 é/broken.png", "klasse 0 é/notes.txt", "klasse 0 é/copy.png",
        "klasse 0 é/.hidden", "klasse 0 é/1.png", "klasse 1 é/of another.png", "empty/", "few/",
    }  # fmt: skip
    assert "not a readable image" in reasons["klasse 0 é/broken.png"]
    assert reasons["klasse 0 é/copy.png"] == "the same image as klasse 0 é/0.png"
    assert reasons["few/"] == "class of 1 usable images, at least 4 are needed"


def test_a_folder_without_two_usable_classes_is_rejected_with_the_reason(tmp_path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no sub-folders"):
        read_images(tmp_path)
    with pytest.raises(InputError, match=r"test_running\.py: is no folder"):
        read_images(Path(__file__))
    fill(tmp_path, classes=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"1 usable class.* empty/: class of 0 usable images"):
        read_images(tmp_path)
    shown = CliRunner().invoke(app, ["bench", "--images", str(tmp_path)])
    assert shown.exit_code == 1 and "Traceback" not in shown.output


def user_data_of(classes: int, count: int) -> UserData:
    image = np.full((1, 8, 8), 255, np.uint8)
    labels = [str(c) for c in range(classes) for _ in range(count)]
    return UserData("image", [image] * len(labels), labels)


def test_the_number_of_classes_chooses_the_question_and_the_examples_the_shots() -> None:
    few, many = (
        plan(user_data_of(10, 20), None, "glyphs", 1),
        plan(user_data_of(20, 4), None, "glyphs", 1),
    )
    assert (few.mode, many.mode) == ("all-way", "class-disjoint")
    assert few.invert and not many.invert
    evaluation = few.config.classification.evaluation
    assert [(s.ways, s.shots) for s in evaluation.settings] == [(10, 1), (10, 5)]
    assert evaluation.queries == 15
    assert [s.shots for s in many.config.classification.evaluation.settings] == [1]
    assert plan(user_data_of(20, 4), "all-way", "glyphs", 1).mode == "all-way"
    with pytest.raises(InputError, match="needs 20 classes, there are 19"):
        plan(user_data_of(19, 9), "class-disjoint", "glyphs", 1)
    assert not bright_background([np.zeros((3, 8, 8), np.uint8)])


@pytest.mark.case("14")
def test_other_data_of_the_same_name_never_overwrite_a_report(tmp_path, monkeypatch) -> None:
    root, first, other = tmp_path / "work", user_data_of(3, 8), user_data_of(4, 8)
    first.origin, other.origin = tmp_path / "a/photos", tmp_path / "b/photos"
    claim(first, root)
    before = (root / "data.json").read_text()
    with pytest.raises(InputError, match=r"24 images of 3 classes from .*a.photos\. .*--name NAME"):
        run_plan(other, plan(other, None, "glyphs", 1), root)
    assert [p.name for p in root.iterdir()] == ["data.json"]
    assert (root / "data.json").read_text() == before


@pytest.mark.case("14")
def test_the_same_data_resume_where_they_lie_or_what_they_hold_is_the_same(tmp_path) -> None:
    root, first, more = tmp_path / "work", user_data_of(3, 8), user_data_of(3, 9)
    first.origin = more.origin = tmp_path / "a/photos"
    claim(first, root)
    claim(more, root)  # collected since
    more.origin = tmp_path / "moved"
    claim(more, root)
    (root / "data.json").unlink()
    (root / "reports").mkdir()
    with pytest.raises(InputError, match=r"no data\.json that says of which data"):
        claim(more, root)


def test_a_small_class_that_limits_all_is_named_with_what_to_do() -> None:
    few = user_data_of(3, 30)
    assert "limit" not in plan(few, None, "glyphs", 1).why
    few.examples, few.labels = few.examples[:-24], few.labels[:-24]
    why = plan(few, None, "glyphs", 1).why
    assert "Class '2' has 6 images only: shots are 1, with 5 queries of each class" in why
    assert why.endswith("With 20 in every class they are 1 and 5, with 15")


def test_what_is_left_out_is_counted_and_what_has_one_reason_is_one_line(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "metabench.practice.running.run_plan", lambda user_data, chosen, root: f"run in {root}"
    )
    path = tmp_path / "mine.csv"
    write_csv(path, ",weather\n" * 12 + "one,Other\ntwo,Other\nthe sky 🙂,music\n")
    call = ["bench", "--csv", str(path), "--text-column", "query", "--label-column", "intent"]
    shown = CliRunner().invoke(app, [*call, "--max-pieces", "8"])
    assert "48 texts of 3 classes; 15 left out" in shown.output
    assert "row 49, row 50, row 51 and 9 more: no text" in shown.output
    assert "1 of 51 texts hold words that the English vocabulary does not know" in shown.output
    assert "more than 8 word pieces" in shown.output and "run in practice/mine" in shown.output


def results(
    means: dict[str, float], episodes: int = 400, seeds: int = 3, scatter: float = 0.001
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Made-up accuracies with common noise of episodes; methods listed later adapt faster."""
    draw = np.random.default_rng(0)
    level = draw.normal(0, 0.05, episodes)
    level -= level.mean()
    luck = draw.normal(0, scatter, (len(means), seeds))
    rows = [
        {"method": m, "seed": s, "episode": e, "steps": -1, "ways": 5, "shots": 1,
         "value": mean + luck[i, s] + level[e] + draw.normal(0, 0.02)}
        for i, (m, mean) in enumerate(means.items())
        for s in range(seeds) for e in range(episodes)
    ]  # fmt: skip
    level = {"examples_budget": 40000, "source_classes": 1.0}
    facts = {"start": "random", "external_pretraining": False, "backbone": "conv4-32"} | level
    costs = [{"method": m, "adapt_ms": 10.0 - i, **facts} for i, m in enumerate(means)]
    frame = pd.DataFrame(rows).assign(
        source="mine", target="mine", family="metric", metric="accuracy", episode_hash="h",
        queries=3, nll=1.0, raw_nll=1.0, temperature=1.0, selection="val", split=0, **level,
        **{start + name: [[1.0]] * len(rows) for start in ("", "raw_") for name in BINS},
    )  # fmt: skip
    return frame, pd.DataFrame(costs)


def test_the_quickest_of_the_tied_is_recommended_and_what_is_behind_is_named() -> None:
    winner, text = recommend(*results({"slow": 0.801, "quick": 0.8, "bad": 0.5}))
    assert winner == "quick" and "**use quick**: tied with slow" in text
    assert "- tied with slow, within ± 1 point with confidence: quick\n" in text
    assert "| bad | 50." in text and "- behind slow: bad\n" in text
    winner, text = recommend(*results({"good": 0.8, "worse": 0.7}))
    assert winner == "good" and "every other method is behind" in text
    assert "not above guessing (20.0 %)" in recommend(*results({"a": 0.2, "b": 0.1}))[1]


def test_the_quickest_of_what_is_not_decided_is_not_recommended_but_the_data_it_takes() -> None:
    noisy = results({"good": 0.8, "quick": 0.74}, scatter=0.03)
    winner, text = recommend(*noisy)
    assert winner == "good" and "not every other method is shown to be behind" in text
    needed = re.search(r"- undecided: quick \((\d+) seeds would decide\)\n", text)
    assert needed and int(needed[1]) > 3
    single = noisy[0][noisy[0]["seed"] == 0]
    text = recommend(single, noisy[1])[1]
    assert "(three seeds or more would decide)" in text  # one says nothing of others
    known = recommend(single, noisy[1], deterministic=("good", "quick"))[1]
    assert "- behind " in known  # no luck in it: one run is all there is
    few = results({"good": 0.8, "quick": 0.79}, episodes=20, seeds=1, scatter=0)
    text = recommend(*few, deterministic=("good", "quick"))[1]
    more = re.search(r"- undecided: quick \((\d+) episodes would decide\)\n", text)
    assert more and f"take {int(more[1]) * 5 * (1 + 3)} examples" in text


def test_the_luckiest_of_many_that_guess_is_not_recommended() -> None:
    draw, tempted, recommended = np.random.default_rng(0), 0, 0
    for _ in range(10):
        rows, costs = results({f"m{i}": 0.2 for i in range(12)}, seeds=1, episodes=60, scatter=0)
        rows["value"] = draw.binomial(75, 0.2, len(rows)) / 75
        by_method = rows.groupby("method")["value"].agg(["mean", "sem"])
        tempted += bool((by_method["mean"] - 2 * by_method["sem"] > 0.2).any())
        winner, text = recommend(rows, costs, tuple(costs["method"]))
        recommended += bool(winner)
    assert tempted >= 2 and recommended == 0
    assert "not above guessing (20.0 %) by more than the best of 12 scores is by luck" in text


def test_a_run_on_own_classes_leaves_a_board_a_recommendation_and_a_learner(tmp_path) -> None:
    fill(tmp_path / "mine", classes=20)
    found = read_images(tmp_path / "mine")
    chosen = plan(found, None, "glyphs", 1)
    task_type = chosen.config.classification
    small = task_type.model_copy(
        update={
            "methods": ("simpleshot", "nearest_neighbour"),
            "budget": task_type.budget.model_copy(update={"examples": (400,), "validations": 1}),
            "evaluation": task_type.evaluation.model_copy(update={"episodes": 5}),
        }
    )
    chosen = replace(chosen, config=chosen.config.model_copy(update={"classification": small}))
    text = run_plan(found, chosen, tmp_path / "work")
    assert "class-disjoint" in text and "**use " in text
    board = (tmp_path / "work/reports/leaderboard.md").read_text(encoding="utf-8")
    assert "simpleshot" in board and "own_images" in board
    model = FewShotClassifier.from_run(tmp_path / "work/winner")
    x, y = found.examples[:40], found.labels[:40]
    assert model.fit(x[::2], y[::2]).score(x[1::2], y[1::2]) > 0.5


SENTENCES = {
    "weather": ["will it rain {}", "is there snow {}", "how warm is it {}", "do I need a coat {}"],
    "music": [
        "play a song {}",
        "turn the volume up {}",
        "skip this track {}",
        "stop the radio {}",
    ],
    "money": ["pay my bill {}", "send cash to Ann {}", "what is my balance {}", "close my loan {}"],
}
DAYS = ("on Monday", "on Tuesday", "tonight", "this morning")


def write_csv(path: Path, extra: str = "") -> None:
    """Sixteen texts for each of three classes, and ``extra`` lines."""
    rows = [
        f'"{text.format(day)}",{label}'
        for label, texts in SENTENCES.items()
        for text in texts
        for day in DAYS
    ]
    path.write_text("\n".join(["query,intent", *rows]) + "\n" + extra, encoding="utf-8")


def test_rows_that_cannot_be_used_are_listed_and_the_rest_is_kept(tmp_path) -> None:
    extra = ["Will it rain tonight,weather", ",weather", "no label,", "a,b,c", "lonely,other"]
    write_csv(tmp_path / "mine.csv", "\n".join([*extra, "天気はどう,weather\n"]))
    user_data = read_texts(tmp_path / "mine.csv", "query", "intent")
    assert user_data.classes == ["money", "music", "weather"] and user_data.smallest == 16
    assert "天気はどう" in user_data.examples and len(user_data.examples) == 49
    reasons = dict(user_data.skipped)
    assert reasons["row 49"] == "the same text as row 3"
    assert reasons["row 50"] == "no text" and reasons["row 51"] == "no label"
    assert reasons["row 52 (line 53)"] == "3 fields, the header has 2"
    assert reasons["label 'other'"] == "class of 1 usable texts, at least 4 are needed"


def test_a_file_that_is_no_table_of_texts_is_rejected_with_the_reason(tmp_path) -> None:
    path = tmp_path / "mine.csv"
    with pytest.raises(InputError, match="no such file"):
        read_texts(path, "text", "label")
    for content in (b"", "text,label\ncaf\xe9,a\n".encode("latin-1")):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a CSV file in UTF-8"):
            read_texts(path, "text", "label")
    write_csv(path)
    with pytest.raises(InputError, match=r"no column 'text' \(--text-column\). Columns: query"):
        read_texts(path, "text", "intent")
    shown = CliRunner().invoke(app, ["bench", "--csv", str(path), "--images", str(tmp_path)])
    assert shown.exit_code == 1 and "one of --images FOLDER and --csv FILE" in shown.output


def test_a_run_on_own_texts_leaves_a_board_a_recommendation_and_a_learner(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "mine.csv")
    found = read_texts(tmp_path / "mine.csv", "query", "intent")
    chosen = plan(found, None, "glyphs", 2)
    assert chosen.mode == "all-way" and chosen.config.seeds == (0,)  # nothing is trained
    text = run_plan(found, chosen, tmp_path / "work")
    assert "3-way 5-shot" in text and "**use " in text
    board = (tmp_path / "work/reports/leaderboard.md").read_text(encoding="utf-8")
    assert "frozen_linear_probe" in board and "tfidf" in board
    assert "three seeds or more" not in board + text  # board and recommendation know: no luck in it
    assert read_json(tmp_path / "work/winner/cell.json")["pieces"] == 256
    assert read_json(tmp_path / "work/data.json")["path"] == str(tmp_path / "mine.csv")
    model = FewShotClassifier.from_run(tmp_path / "work/winner")
    x, y = found.examples, found.labels
    assert model.fit(x[::2], y[::2]).score(x[1::2], y[1::2]) > 0.8
    served = FewShotModel()
    served.load_context(SimpleNamespace(artifacts={"learner": str(tmp_path / "work/winner")}))
    asked = FewShotTask(support_x=x, support_y=y, query_x=["will there be rain on Friday"])
    assert served.predict(None, [asked])[0]["labels"] == ["weather"]
    with pytest.raises(ValueError, match="list of texts"):
        model.fit([[0.5], [1.0]], ["a", "b"])


def test_texts_of_many_classes_are_learnt_from() -> None:
    texts = [f"word{c} number {i}" for c in range(20) for i in range(9)]
    user_data = UserData("text", texts, [str(i // 9) for i in range(180)])
    chosen = plan(user_data, None, "glyphs", 1)
    assert chosen.mode == "class-disjoint" and "frozen_r2d2" in chosen.task_type.methods
    parts = [c.partition for c in arrays(user_data, (), chosen.mode, chosen.invert).classes]
    assert sorted(map(parts.count, ("train", "val", "test"))) == [5, 5, 10]


@pytest.mark.case("46")
def test_names_in_the_recommendation_are_text_and_nothing_else() -> None:
    from metabench.practice.running import _report

    data = user_data_of(20, 4)
    data.skipped = [("a/x` <img src=x onerror=alert(1)>.png", "no image"), ("a/x.png", "small")]
    text = _report(data, plan(data, None, "glyphs", 1), "use it", Path("practice/a"))
    html = MarkdownIt().render(text)
    assert "<img" not in html and "onerror=alert(1)" in html  # as text
    assert "<li>a/x.png: small</li>" in html.replace("<code>", "").replace("</code>", "")


def on_toy(user_data: UserData, root: Path) -> str:
    """The recommendation of a run without training, its source grey."""
    chosen = plan(user_data, None, TOY_NAME, 1)
    task_type = chosen.config.classification
    small = task_type.model_copy(
        update={
            "methods": ("nearest_neighbour",),
            "evaluation": task_type.evaluation.model_copy(update={"episodes": 10}),
        }
    )
    chosen = replace(chosen, config=chosen.config.model_copy(update={"classification": small}))
    return run_plan(user_data, chosen, root)


@pytest.fixture(scope="module")
def fruit(tmp_path_factory) -> tuple[UserData, Path, str]:
    """Fruits that differ in colour alone, in train and test folders, and what a run says."""
    root, draw = tmp_path_factory.mktemp("fruit"), np.random.default_rng(0)
    for part, count in (("train", 2), ("test", 4)):
        for name, colour in (("ripe", (200, 60, 60)), ("unripe", (60, 200, 60))):
            folder = root / "fruit" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                shape = draw.integers(0, 255, (16, 16, 1)) > 99
                Image.fromarray((shape * colour).astype(np.uint8)).save(folder / f"{i}.png")
    user_data = read_images(root / "fruit")
    return user_data, root, on_toy(user_data, root / "work")


@pytest.mark.case("04")
def test_colours_reach_the_learners_of_a_grey_source_which_is_said(fruit) -> None:
    user_data, root, text = fruit
    assert "12 of 12 images are coloured, tests.toy:TOY is grey" in text
    assert "**use nearest_neighbour**" in text and "2-way 1-shot: nearest_neighbour 100.0" in text
    model = FewShotClassifier.from_run(root / "work/winner")
    assert (
        model.fit(user_data.examples, user_data.labels).score(user_data.examples, user_data.labels)
        == 1
    )


@pytest.mark.case("03")
def test_a_folder_with_parts_is_used_as_it_says(fruit) -> None:
    user_data, root, text = fruit
    assert (
        "support is of train/, of which class 'ripe' has the fewest, 2; queries are of test/"
        in text
    )
    frozen = FrozenEpisodes.load(root / f"work/data/episodes/{user_data.name}/test/2w1s.npz")
    parts = np.array(user_data.parts)[frozen.indices]
    assert parts.shape[2] == 5  # one shot: there are two; all queries
    assert (parts[..., 0] == "train").all() and (parts[..., 1:] == "test").all()
    asked = plan(user_data, None, "glyphs", 1)
    assert "queries are of test/" in asked.why
    whole = plan(
        UserData("image", user_data.examples, user_data.labels), None, "glyphs", 1
    )  # without parts
    assert "test/" not in whole.why and whole.task_type.evaluation.queries == 5
    many = [str(c) for c in range(15) for _ in range(4)]
    parted = UserData("image", user_data.examples[:1] * 60, many)
    parted.parts = ["test"] * 20 + ["train"] * 20 + ["val"] * 20
    chosen = plan(parted, None, "glyphs", 1)
    assert chosen.mode == "class-disjoint" and "5 choose the weights" in chosen.why
    found = arrays(parted, (1, 8, 8), chosen.mode, chosen.invert).classes
    assert {c.name: c.partition for c in found} == dict(zip(many, parted.parts, strict=True))
    assert "--mode asks" in plan(parted, "all-way", "glyphs", 1).why


@pytest.mark.case("04")
def test_nothing_is_recommended_where_nothing_is_above_guessing(tmp_path) -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (12, 1, 16, 16), np.uint8))
    text = on_toy(UserData("image", noise * 2, ["a"] * 12 + ["b"] * 12), tmp_path / "grey")
    assert "are coloured" not in text and "from_run" not in text
    assert "**use none of them**: no method is above guessing" in text
    assert not (tmp_path / "grey/winner").exists()
    assert recommend(*results({"a": 0.2, "b": 0.1}))[0] == ""
    assert recommend(*results({"a": 0.8, "b": 0.1}))[0] == "a"
