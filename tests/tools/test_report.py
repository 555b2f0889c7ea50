"""`tools/report.py`: what it leaves behind for one run and for two, and the page in a browser."""

import base64
import hashlib
import html.parser
import json
import os
import re
import shutil

from project.applications.thresholds import class_thresholds
from project.data.scenes import make_scenes
from project.evaluation.evaluate import evaluate_results
from project.visualization.records import mask_from_segmentation

import cv2
import numpy as np
import pytest
import yaml

TOOL = "tools/report.py"
EVIL_CLASS = "<script>alert(1)</script>"
EVIL_FILE = "<img src=x onerror=alert(2)>.jpg"
RESULTS = "inference/tiny_val/coco_instances_results.json"


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool(TOOL).main


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a hostile subset and two runs on it, "a" better than "b"."""
    root = tmp_path_factory.mktemp("report")
    home = make_scenes(root, sizes={"val": 14}).rename(root / "tiny")
    file = home / "annotations/val.json"
    content = json.loads(file.read_text())
    first, second = content["images"][:2]
    (home / "images/val" / first["file_name"]).rename(home / "images/val" / EVIL_FILE)
    first["file_name"] = EVIL_FILE
    (home / "images/val" / second["file_name"]).write_bytes(b"no picture")
    content["categories"][1]["name"] = EVIL_CLASS
    file.write_text(json.dumps(content))
    for name, spread in (("a", 1), ("b", 4)):
        make_run(root / name, content, spread)
    return root


def make_run(folder, content, spread: int) -> None:
    """A run's files; its detections are the labelled objects, moved by some pixels."""
    (folder / RESULTS).parent.mkdir(parents=True)
    (folder / RESULTS).write_text(json.dumps(moved_objects(content, spread)))
    config = {
        "dataset": {"name": "tiny", "root": None, "test": "val", "train": "train"},
        "train": {"init_checkpoint": "", "output_dir": str(folder), "spread": spread},
        "note": "</td><b>bold</b>",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [
        {"iteration": i, "total_loss": 2 / (i + 1), "loss_cls": 1 / (i + 1), "lr": 0.1, "time": 0.5}
        for i in range(0, 40, 2)
    ]
    rows += [{"iteration": i, "segm/AP": float(i), "segm/AP-dog": i / 2} for i in (20, 40)]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, rows)) + '\n{"broken')
    drawn = {"images": {"plain": 10.0, "drawn": 20.0}}
    sampling = {"num_images": 5, "num_drawn": 50, "classes": {"dog": drawn, EVIL_CLASS: drawn}}
    results = {"iterations": 40, "results": {}, "sampling": sampling}
    (folder / "results.json").write_text(json.dumps(results))
    rule = "-" * 8 + "  " + "-" * 8
    (folder / "log.txt").write_text(f"{rule}\nPlatform  An old one\nPyTorch   9.9\n{rule}\nmore\n")


def moved_objects(content, spread: int) -> list[dict]:
    from pycocotools import mask as coco_mask

    generator = np.random.default_rng(0)
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    found = []
    for annotation in content["annotations"]:
        size = sizes[annotation["image_id"]]
        if annotation["iscrowd"] or generator.random() < 0.15:
            continue  # missed
        part = mask_from_segmentation(annotation["segmentation"], *size)
        mask = np.zeros(size, np.uint8)
        height, width = part.pixels.shape
        mask[part.y : part.y + height, part.x : part.x + width] = part.pixels
        shift = generator.integers(-spread, spread + 1, 2)
        mask = np.roll(mask, shift, (0, 1))
        rle = coco_mask.encode(np.asfortranarray(mask))
        wrong = generator.random() < 0.1
        found.append(
            {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"] % 4 + 1 if wrong else
                annotation["category_id"],
                "bbox": coco_mask.toBbox(rle).tolist(),
                "score": float(generator.uniform(0.3, 1)),
                "segmentation": {"size": list(size), "counts": rle["counts"].decode()},
            }
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def single(root, main):
    arguments = [str(root / "a"), "--root", str(root), "--resamples", "100", "--images", "2"]
    assert main(arguments) == 0
    return root / "a/report"


@pytest.fixture(scope="module")
def double(root, main):
    runs = [str(root / "a"), str(root / "b")]
    options = ["--root", str(root), "--resamples", "100", "--images", "2"]
    assert main([*runs, *options, "--output", str(root / "both")]) == 0
    return root / "both"


class Page(html.parser.HTMLParser):
    """What a page holds, and that each tag is closed by its own."""

    EMPTY = {"meta", "link", "img", "br", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module", params=["single", "double"])
def page(request):
    folder = request.getfixturevalue(request.param)
    return Page((folder / "index.html").read_text("utf-8"))


def test_everything_is_there(single, double):
    for folder, more in ((single, {"metrics.csv", "thresholds.json"}), (double, {"errors-b.csv"})):
        names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert {"index.html", "results.json", "charts/class-ap.png"} | more <= names
        pictures = list(folder.glob("*/*.png"))
        assert any(p.parent.name == "images" for p in pictures)
        for picture in pictures:
            assert cv2.imread(str(picture)).std() > 1, picture
    assert (double / "differences.csv").is_file()


def test_figures_are_those_of_the_reference(root, single):
    found = json.loads((single / "results.json").read_text())["runs"]["a"]
    truth = root / "tiny/annotations/val.json"
    for task, kind in (("segm", "mask"), ("bbox", "box")):
        expected = evaluate_results(truth, root / "a" / RESULTS, task, backend="pycocotools")
        estimates = {
            (e["metric"], e["class_name"]): e for e in found["estimates"] if e["kind"] == kind
        }
        for metric in ("AP", "AP50", "AP75"):
            assert estimates[metric, ""]["value"] == pytest.approx(expected[metric])
        assert estimates["AP", "dog"]["value"] == pytest.approx(expected["AP-dog"])
        assert found["coco"][task]["AP"] == pytest.approx(expected["AP"])
    main_estimate = next(
        e for e in found["estimates"] if (e["kind"], e["metric"]) == ("mask", "AP")
    )
    assert main_estimate["low"] < main_estimate["value"] < main_estimate["high"]
    assert found["environment"] == {"Platform": "An old one", "PyTorch": "9.9"}
    assert found["timings"]["seconds of all iterations, without evaluations"] == pytest.approx(20)


def test_a_class_in_few_images_gets_no_interval(single):
    found = json.loads((single / "results.json").read_text())["runs"]["a"]
    cake = [e for e in found["estimates"] if (e["metric"], e["class_name"]) == ("AP", "cake")]
    assert all(e["low"] is None and e["note"] == "too few images" for e in cake)
    text = (single / "index.html").read_text("utf-8")
    assert re.search(r"\(too few images\)", text)
    assert "Classes in fewer than 10 images have no interval" in text


def test_prediction_takes_the_thresholds(root, single):
    names = ["cake", EVIL_CLASS, "dog", "person"]
    chosen = json.loads((single / "thresholds.json").read_text())
    assert list(chosen) == names
    taken = class_thresholds(names, None, root / "a")
    np.testing.assert_allclose(taken, list(chosen.values()))


def test_differences_are_second_minus_first(root, double):
    content = json.loads((double / "results.json").read_text())
    values = {
        name: {(e["kind"], e["metric"], e["class_name"]): e["value"] for e in run["estimates"]}
        for name, run in content["runs"].items()
    }
    assert list(values) == ["a", "b"]
    for row in content["differences"]:
        key = row["kind"], row["metric"], row["class_name"]
        if row["difference"] is not None:
            assert row["difference"] == pytest.approx(values["b"][key] - values["a"][key])
    ap = content["differences"][0]
    assert (ap["kind"], ap["metric"], ap["class_name"]) == ("mask", "AP", "")
    assert ap["difference"] < -20  # b's masks were moved by more
    assert ap["high"] < 0
    assert "a is better on such images" in content["headline"]


def test_names_are_shown_and_not_run(page):
    text = "".join(page.words)
    assert EVIL_CLASS in text
    assert "no picture" not in text
    assert not {"b", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert not any(a.get("src") == "x" for _, a in page.tags)


def test_the_page_stands_alone(page):
    sources = [a.get("src") or a.get("xlink:href") or "" for tag, a in page.tags if tag != "a"]
    assert all(s.startswith(("data:", "#")) for s in sources if s)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"].removeprefix("#") for tag, a in page.tags if tag == "a"}
    assert links <= set(ids)
    pictures = [a for tag, a in page.tags if tag == "img"]
    charts = [a for tag, a in page.tags if tag == "svg"]
    assert all(a["alt"].strip() for a in pictures)
    assert all(a["aria-label"].strip() for a in charts)
    assert len(charts) >= 15


def test_only_the_pages_own_script_may_run(single, double):
    text = (single / "index.html").read_text("utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert "<script>" not in (double / "index.html").read_text("utf-8")


def test_broken_images_are_named_and_the_rest_is_shown(single):
    text = (single / "index.html").read_text("utf-8")
    assert "Images that can't be read and aren't shown: 000002.jpg." in text
    assert len(text) < 4_000_000
    read = Page(text)
    items = [a for tag, a in read.tags if tag == "figure" and "data-kind" in a]
    assert {"miss", "cls"} <= {a["data-kind"] for a in items}
    assert EVIL_CLASS in {a["data-class"] for a in items}
    assert EVIL_FILE in "".join(read.words)
    assert all("data-score" in a or a["data-kind"] == "miss" for a in items)


def test_thresholds_are_null_where_no_detection_is_right(root, main, tmp_path):
    run = shutil.copytree(root / "b", tmp_path / "empty")
    for file in ("metrics.json", "results.json", "log.txt"):
        (run / file).unlink()
    (run / RESULTS).write_text("[]")
    assert main([str(run), "--root", str(root), "--resamples", "100"]) == 0
    chosen = json.loads((run / "thresholds.json").read_text())
    assert chosen == dict.fromkeys(["cake", EVIL_CLASS, "dog", "person"])
    assert class_thresholds(list(chosen), None, run).tolist() == [0.5] * 4
    page = Page((run / "report/index.html").read_text("utf-8"))
    text = "".join(page.words)
    for words in (
        "curves of training of empty, for metrics.json doesn't exist",
        "sampling report of empty, for results.json doesn't exist",
        "machine and software of empty, for log.txt doesn't exist",
    ):
        assert words in text
    assert not {"curves", "sampling"} & {a.get("id") for _, a in page.tags}
    assert "The run found nothing" in text
    assert not re.search(r"\bnan\b", text)


def test_slices_have_intervals(single):
    found = json.loads((single / "results.json").read_text())["runs"]["a"]["slice_estimates"]
    inside = {e["metric"]: e for e in found["truncation"]["inside"]}
    assert inside["AP50"]["low"] <= inside["AP50"]["value"] <= inside["AP50"]["high"]
    assert inside["AP50"]["low"] < inside["AP50"]["high"]
    rows = (single / "slices.csv").read_text().splitlines()
    assert rows[0].startswith("question,slice,objects,metric,")
    assert len(rows) == 1 + sum(len(by_slice) for e in found.values() for by_slice in e.values())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda run: shutil.rmtree(run), "unknown run 'x'"),
        (lambda run: (run / "config.yaml").unlink(), "is no run folder: it has no config.yaml"),
        (lambda run: (run / "config.yaml").write_text("a: ["), "config.yaml can't be read"),
        (lambda run: (run / "config.yaml").write_text("a: 1"), "names no dataset.name"),
        (lambda run: (run / RESULTS).unlink(), "x has no predictions for tiny_val"),
        (
            lambda run: (run / RESULTS).rename(
                (run / RESULTS).with_name("sem_seg_predictions.json")
            ),
            "x is a semantic model's run; the report judges masks of instances",
        ),
        (
            lambda run: (run / "inference/tiny_val").rename(run / "inference/tiny_test"),
            "has predictions for tiny_test, but its config evaluates on tiny_val",
        ),
        (
            lambda run: (run / "config.yaml").write_text("dataset: {name: tinny, test: val}"),
            "x was evaluated on tinny_val, but",
        ),
        (
            lambda run: (run / RESULTS).write_text(
                '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}]'
            ),
            "has detections without masks",
        ),
        (lambda run: (run / "results.json").write_text("{"), "results.json can't be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(root, main, tmp_path, capsys, change, message):
    run = shutil.copytree(root / "b", tmp_path / "x")
    change(run)
    assert main([str(run), "--root", str(root)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_runs_of_two_datasets_are_not_compared(root, main, tmp_path, capsys):
    other = shutil.copytree(root / "b", tmp_path / "other")
    shutil.copytree(root / "tiny", root / "second", dirs_exist_ok=True)
    (other / "config.yaml").write_text("dataset: {name: second, test: val}")
    (other / "inference/tiny_val").rename(other / "inference/second_val")
    assert main([str(root / "a"), str(other), "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert "a was evaluated on tiny_val" in error
    assert "other on second_val" in error
    assert "compare runs on one dataset" in error


@pytest.mark.parametrize("name", ["config.yaml", "sweep.json"])
def test_files_of_a_run_or_sweep_are_not_replaced(root, main, tmp_path, capsys, name):
    (tmp_path / name).write_text("{}")
    assert main([str(root / "a"), "--root", str(root), "--output", str(tmp_path)]) == 2
    message = f"output folder {tmp_path} holds {name}: files of that run or sweep would be replaced"
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_numbers_out_of_range(main, capsys):
    assert main(["x", "--resamples", "2"]) == 2
    assert "--resamples is 2; expected 100 or more" in capsys.readouterr().err


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "no chromium on this machine: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


# Elements that stick out of the window, except inside of what scrolls by itself.
OVERFLOWING = """() => [...document.querySelectorAll('body *')].filter(e =>
    !e.closest('.scroll, .pictures, .skip, svg') && e.offsetWidth &&
    e.getBoundingClientRect().right > innerWidth + 1).map(e => `${e.tagName} ${e.className}`)"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("report", ["single", "double"])
def test_pages_in_a_browser(browser, request, report, width, scheme):
    folder = request.getfixturevalue(report)
    view = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=scheme)
    problems, requests = [], []
    view.on("console", lambda message: problems.append(message.text))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.on("dialog", lambda dialog: problems.append(dialog.message))
    view.on("request", lambda found: requests.append(found.url))
    view.goto((folder / "index.html").as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") == width
    assert view.evaluate(OVERFLOWING) == []
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt)"
    assert view.evaluate(broken) == []
    assert problems == []
    assert [url for url in requests if not url.startswith("data:")] == [
        (folder / "index.html").as_uri()
    ]
    view.close()


@pytest.mark.slow
def test_filters_of_the_gallery(browser, root, main, tmp_path):
    run = shutil.copytree(root / "a", tmp_path / "many")
    content = json.loads((root / "tiny/annotations/val.json").read_text())
    several = [found for spread in (1, 8, 12) for found in moved_objects(content, spread)]
    (run / RESULTS).write_text(json.dumps(several))
    assert main([str(run), "--root", str(root), "--resamples", "100"]) == 0
    view = browser.new_page(viewport={"width": 390, "height": 850})
    view.goto((run / "report/index.html").as_uri())
    figures = view.evaluate(
        "[...document.querySelectorAll('.errors figure')].map(f => ({...f.dataset}))"
    )

    def shown() -> list[dict]:
        found = view.evaluate(
            "[...document.querySelectorAll('.errors figure')]"
            ".filter(f => f.offsetHeight).map(f => ({...f.dataset}))"
        )
        told = view.locator(".filters .count").inner_text()
        if not found:
            assert told == "No such error here"
        else:
            assert told.startswith(f"{len(found)} of ")
            further = f"Show {min(12, int(told.split()[2]) - len(found))} more"
            assert further == view.locator(".further").text_content()
        return found

    assert len(figures) > 24
    assert shown() == figures[:12]
    while view.locator(".further").is_visible():
        view.locator(".further").click()
    assert shown() == figures
    view.select_option("select[name=kind]", "loc")
    view.select_option("select[name=kind]", "")
    assert shown() == figures[:12]
    view.select_option("select[name=class]", EVIL_CLASS)
    assert shown() == [f for f in figures if f["class"] == EVIL_CLASS][:12]
    view.select_option("select[name=kind]", "miss")
    assert shown() == [f for f in figures if f["class"] == EVIL_CLASS and f["kind"] == "miss"]
    view.select_option("select[name=class]", "")
    view.select_option("select[name=kind]", "")
    view.locator("input[name=score]").fill("0.6")
    kept = [f for f in figures if float(f.get("score", -1)) >= 0.6]
    assert shown() == kept[:12]
    assert 0 < len(kept) < len(figures)
    view.select_option("select[name=kind]", "miss")
    assert shown() == []
    view.close()
