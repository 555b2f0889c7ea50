"""Run folders to groups, curves, words and a page; what can't be compared."""

import csv
import json

from project.errors import UserError
from project.experiments.compare import compare
from project.experiments.curves import curve_metrics, learning_curve
from project.experiments.page import write_comparison
from project.experiments.plan import Point
from project.experiments.runs import flatten, read_metrics
from project.experiments.store import SweepStore
from project.experiments.words import headline, sentences

import numpy as np
import pytest


def texts(found) -> str:
    return "\n".join(sentence.text for sentence in sentences(found))


@pytest.fixture
def sizes(tmp_path, make_run):
    """3 sizes x 2 learning rates x 2 seeds: error = 40 + 300 n^-0.5, and 5 more at the lower."""
    for seed in (0, 1):
        for size in (50, 100, 200, 400):
            for lr in (0.001, 0.1):
                ap = 60 - 300 * size**-0.5 - 5 * (lr < 0.01) + 0.2 * (seed - 0.5)
                folder = tmp_path / "runs" / f"{size}-{lr}-{seed}"
                make_run(folder, seed=seed, ap=ap, lr=lr, size=size)
    return tmp_path / "runs"


@pytest.fixture
def named(tmp_path, make_run):
    """A sweep of three named settings, three seeds."""
    store = SweepStore(tmp_path / "named", "setting")
    gains = {"plain": [0, 0, 0], "better": [2, 2.1, 1.9], "a lottery": [-3, 3, 0.5]}
    for name, gain in gains.items():
        for seed in range(3):
            folder = f"{name.replace(' ', '-')}_seed-{seed}"
            lr = {"plain": 0.1, "better": 0.2, "a lottery": 0.3}[name]
            make_run(store.folder / folder, seed=seed, ap=20 + 5 * seed + gain[seed], lr=lr)
            store.add(Point(folder, {"setting": name}, seed, "base.py", []))
    store.save()
    return store.folder


def test_settings_are_what_differs_but_for_the_seed(sizes):
    found = compare([sizes])
    assert found.keys == ["dataset.num_images", "optimizer.lr"]
    assert [len(group.runs) for group in found.groups] == [2] * 8
    assert found.groups[0].label == "num_images 50, lr 0.001"
    assert found.best.label == "num_images 400, lr 0.1"
    assert found.groups[0].mean("segm/AP") == pytest.approx(60 - 300 / 50**0.5 - 5)
    assert headline(found).startswith(
        "16 runs of 8 settings, 2 seeds each, evaluated on scenes_val"
    )


def test_trends_and_the_power_law(sizes):
    size, rate = compare([sizes]).trends
    assert (size.name, rate.name, rate.log) == ("training images", "lr", True)
    assert [line.label for line in size.series] == ["lr 0.001", "lr 0.1"]
    assert size.series[0].x == [50, 100, 200, 400]
    assert size.fits["lr 0.1"].a == pytest.approx(40, abs=0.5)
    assert size.fits["lr 0.1"].c == pytest.approx(0.5, abs=0.02)
    assert "lr 0.1: 100 - segm/AP falls as images^-0.5" in texts(compare([sizes]))


def test_two_sizes_are_said_to_be_too_few(tmp_path, make_run):
    for size in (50, 100):
        make_run(tmp_path / str(size), size=size, ap=size / 10)
    found = compare([tmp_path])
    assert found.trends[0].fits == {}
    assert "No power law is fitted: a power law needs runs at 3 data set sizes" in texts(found)
    assert "Every setting ran with one seed" in texts(found)


def test_a_sweep_names_its_settings_and_its_baseline(named):
    found = compare([named])
    assert [group.label for group in found.groups] == ["plain", "better", "a lottery"]
    assert found.baseline.label == "plain"
    text = texts(found)
    assert "better against plain: segm/AP +2.00 (95 % +1.75 to +2.25, 3 seeds), higher." in text
    assert "a lottery against plain: segm/AP +0.17" in text
    assert "not distinguishable from chance. No class is distinguishable." in text
    assert "3 of the 6 intervals leave out zero; without any real difference about 0.3" in text


def test_the_baseline_can_be_chosen(named):
    assert compare([named], baseline="better").differences[0].mean == pytest.approx(-2)
    assert compare([named], baseline="better_seed-1").baseline.label == "better"
    with pytest.raises(UserError, match="unknown setting 'worse'"):
        compare([named], baseline="worse")


def test_curves_are_means_over_the_seeds_where_all_have_a_point(tmp_path, make_run):
    make_run(tmp_path / "a", seed=0, curve=((1, 4.0), (3, 8.0), (5, 9.0)))
    make_run(tmp_path / "b", seed=1, curve=((1, 6.0), (3, 8.0)))
    (group,) = compare([tmp_path]).groups
    curve = learning_curve(group, "segm/AP")
    assert curve.iterations.tolist() == [2, 4]
    assert curve.mean.tolist() == [5, 8]
    assert curve.high - curve.mean == pytest.approx([np.sqrt(2), 0])
    assert curve_metrics([group], "segm/AP") == ["segm/AP", "total_loss"]
    assert learning_curve(group, "nothing") is None


def test_half_written_metrics_are_read(tmp_path):
    rows = [{"iteration": 3, "a": 1}, {"iteration": 1, "a": 2}, {"iteration": 3, "b": 4}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    no_number = '{"iteration": NaN, "a": 1}\n{"iteration": "x"}\n'
    (tmp_path / "metrics.json").write_text(text + no_number + '{"iteration": 5, "a')
    assert read_metrics(tmp_path) == [{"iteration": 1, "a": 2}, {"iteration": 3, "a": 1, "b": 4}]
    assert read_metrics(tmp_path / "gone") == []


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("results.json", '{"iterations": "x", "results": {}}', "iterations is 'x'; expected a w"),
        ("results.json", '{"iterations": NaN, "results": {}}', "iterations is nan; expected a w"),
        ("results.json", "[]", "results.json holds no run's results"),
        ("config.yaml", "train: {seed: null}", "config.yaml: train.seed is None; expected a whole"),
        ("config.yaml", "train: {seed: one}", "config.yaml: train.seed is 'one'; expected a whole"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, make_run, file, content, message):
    make_run(tmp_path / "runs/a")
    (make_run(tmp_path / "runs/b", seed=1) / file).write_text(content)
    with pytest.raises(UserError, match=message):
        compare([tmp_path / "runs"])


def test_a_date_in_a_config_is_a_value(tmp_path, make_run):
    for day in (1, 2):
        file = make_run(tmp_path / f"day-{day}") / "config.yaml"
        file.write_text(f"{file.read_text()}begun: 2026-01-0{day}\n")
    labels = [group.label for group in compare([tmp_path]).groups]
    assert labels == ['begun "2026-01-01"', 'begun "2026-01-02"']


def test_leaves_of_a_config():
    assert flatten({"a": {"b": [1, 2], "c": [{"d": 3}]}, "e": {}}) == {
        "a.b": [1, 2],
        "a.c.0.d": 3,
        "e": {},
    }


def test_the_folder_of_a_comparison(sizes, named, tmp_path):
    page = write_comparison(compare([sizes]), tmp_path / "out", title="<b>sizes</b>")
    text = page.read_text("utf-8")
    assert "&lt;b&gt;sizes" in text
    assert "<script" not in text
    assert "://" not in text.replace("http://www.w3.org", "")
    names = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"index.html", "runs.csv", "settings.csv", "power_laws.csv", "trend-0.png"} <= names
    assert {"curve-0.png", "cost-run.png", "settings.png"} <= names
    with open(tmp_path / "out/power_laws.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["c"]) for row in rows] == pytest.approx([0.5, 0.5], abs=0.02)
    write_comparison(compare([named]), tmp_path / "named-out", title="named")
    with open(tmp_path / "named-out/differences.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["setting"], first["baseline"], first["distinct"]) == ("better", "plain", "1")


def test_a_single_run_has_a_page(tmp_path, make_run):
    run = make_run(tmp_path / "only", curve=())
    page = write_comparison(compare([run]), tmp_path / "out", title="one")
    assert "1 run of 1 setting, 1 seed each" in page.read_text("utf-8")


def test_unfinished_runs_are_left_out_and_named(tmp_path, make_run):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1, finished=False)
    found = compare([tmp_path])
    assert len(found.runs) == 1
    assert "1 run without results left out: b." in texts(found)


def test_what_cannot_be_compared(tmp_path, make_run):
    with pytest.raises(UserError, match="gone is no folder"):
        compare([tmp_path / "gone"])
    with pytest.raises(UserError, match=r"no run in .*: a run folder has a config\.yaml"):
        compare([tmp_path])
    make_run(tmp_path / "x/begun", finished=False)
    with pytest.raises(UserError, match="none of the 1 runs in .* has results yet"):
        compare([tmp_path / "x"])
    first = make_run(tmp_path / "first")
    with pytest.raises(UserError, match="first is evaluated on scenes_val and .* on coco_val"):
        compare([first, make_run(tmp_path / "other", subset="coco", seed=1)])
    with pytest.raises(UserError, match="results for segm/AP-cake, segm/AP-dog and .*AP-hog"):
        compare([first, make_run(tmp_path / "classes", classes=("cake", "hog"), seed=1)])
    with pytest.raises(UserError, match="the same setting and the same seed 0"):
        compare([first, make_run(tmp_path / "again")])
    with pytest.raises(UserError, match="unknown metric 'segm/APP'; did you mean 'segm/AP'"):
        compare([first], metric="segm/APP")
    (first / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json can't be read"):
        compare([first])


@pytest.mark.parametrize("content", ["[]", "{}", '{"runs": 3}'])
def test_a_damaged_record_of_a_sweep_is_named(tmp_path, make_run, content):
    make_run(tmp_path / "a")
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match="sweep.json isn't a sweep's record"):
        compare([tmp_path])
    with pytest.raises(UserError, match="sweep.json isn't a sweep's record"):
        compare([tmp_path / "a"])


def test_runs_of_two_sweeps_under_one_name_are_told(tmp_path, make_run):
    for seed, lr in ((0, 0.01), (1, 0.02)):
        store = SweepStore(tmp_path / f"sweep-{seed}", "setting")
        store.add(Point("plain", {"setting": "plain"}, seed, "c.py", []))
        store.save()
        make_run(store.run_dir("plain"), seed=seed, lr=lr)
    sweeps = [tmp_path / "sweep-0", tmp_path / "sweep-1"]
    assert "differ in optimizer.lr: not by seed only." in texts(compare(sweeps))
    assert "not by seed only" not in texts(compare(sweeps[:1]))
