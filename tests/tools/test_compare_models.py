"""`tools/compare.py --models` as a user calls it, and its page in a browser."""

import csv
import html.parser
import json
import os
import shutil

import project  # noqa: F401

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

EVIL_IMAGE = "<img src=x onerror=alert(1)>.png"
EVIL_CLASS = "<b>$cake_{</b>"
SIZE = (48, 64)


def rle(pixels) -> dict:
    found = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": found["size"], "counts": found["counts"].decode()}


def rectangle(x0, y0, x1, y1):
    pixels = np.zeros(SIZE, bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Fourteen images of two classes, with hostile names; Mask R-CNN once and U-Net twice."""
    root = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(0)
    images = root / "odd/images/val"
    images.mkdir(parents=True)
    (root / "odd/annotations").mkdir()
    content = {"images": [], "annotations": []}
    content["categories"] = [{"id": 3, "name": EVIL_CLASS}, {"id": 5, "name": "person"}]
    for i in range(1, 15):
        name = EVIL_IMAGE if i == 1 else f"{i:03}.png"
        cv2.imwrite(str(images / name), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        content["images"].append({"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        for category, x in ((3, 2), (5, 34)):
            pixels = rectangle(x, 4, x + int(rng.integers(10, 26)), int(rng.integers(16, 44)))
            content["annotations"].append(
                {"id": len(content["annotations"]) + 1, "image_id": i, "category_id": category,
                 "bbox": coco_mask.toBbox(rle(pixels)).tolist(), "area": int(pixels.sum()),
                 "segmentation": rle(pixels), "iscrowd": 0}
            )  # fmt: skip
    (root / "odd/annotations/val.json").write_text(json.dumps(content))
    for name, most, file in (
        ("mask_rcnn", 9, "coco_instances_results.json"),
        ("<i>unet</i>_seed0", 3, "sem_seg_predictions.json"),
        ("<i>unet</i>_seed1", 4, "sem_seg_predictions.json"),
    ):
        folder = root / "runs" / name.replace("/", "∕")
        (folder / "inference/odd_val").mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"dataset: {{name: odd, test: val, root: '{root}'}}\n"
            f"optimizer: {{lr: {file}}}\ntrain: {{output_dir: x, seed: {most % 2}, device: cpu}}\n"
        )
        found = []
        for entry in content["annotations"]:
            shifted = np.roll(coco_mask.decode(entry["segmentation"]), rng.integers(0, most), 1)
            found.append(
                {"image_id": entry["image_id"], "category_id": entry["category_id"],
                 "score": 0.9, "segmentation": rle(shifted), "bbox": entry["bbox"]}
            )  # fmt: skip
        (folder / "inference/odd_val" / file).write_text(json.dumps(found))
    return root


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool("tools/compare.py").main


@pytest.fixture(scope="module")
def compared(main, root):
    """The folder of a comparison without speed."""
    arguments = ["--models", str(root / "runs"), "--baseline", "mask_rcnn", "--no-speed"]
    output = root / "out"
    arguments += ["--num-images", "4"]  # of four kinds: all of the fourteen are drawn
    assert main([*arguments, "--output", str(output), "--title", "<u>Odd</u>"]) == 0
    return output


def test_everything_is_there(compared):
    names = {p.relative_to(compared).as_posix() for p in compared.rglob("*") if p.is_file()}
    assert {"index.html", "models.json", "figures.csv", "differences.csv", "images.csv"} <= names
    assert {
        "charts/figure-IoU.png",
        "charts/difference-IoU.png",
        "charts/figure-IoU-1.png",
    } <= names
    assert len([name for name in names if name.startswith("images/")]) == 14
    assert "cost.csv" not in names


def test_the_numbers_agree(compared):
    numbers = json.loads((compared / "models.json").read_text())
    assert numbers["classes"] == [EVIL_CLASS, "person"]
    assert (numbers["common_images"], numbers["baseline"]) == (14, "mask_rcnn")
    assert {m["kind"] for m in numbers["models"].values()} == {"instances", "semantic"}
    (unet,) = (label for label, m in numbers["models"].items() if m["kind"] == "semantic")
    own = next(
        f for f in numbers["figures"]
        if (f["model"], f["metric"], f["class_name"]) == (unet, "IoU", "")
    )  # fmt: skip
    seeds = numbers["models"][unet]["iou_of_runs"]
    assert own["value"] == pytest.approx(np.mean(seeds))
    assert own["sd_over_seeds"] == pytest.approx(np.std(seeds, ddof=1))
    assert own["low"] < own["value"] < own["high"]
    rows = list(csv.DictReader((compared / "images.csv").open()))
    assert rows[0]["image"] == EVIL_IMAGE
    dice = next(
        f["value"] for f in numbers["figures"]
        if (f["model"], f["metric"], f["class_name"]) == ("mask_rcnn", "image Dice", "")
    )  # fmt: skip
    assert np.mean([float(row["mask_rcnn"]) for row in rows]) == pytest.approx(dice, abs=1e-3)


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_names_are_shown_and_not_run(compared):
    page = Page((compared / "index.html").read_text("utf-8"))
    text = "".join(page.words)
    assert all(name in text for name in (EVIL_IMAGE, EVIL_CLASS, "<i>unet<", "<u>Odd</u>"))
    assert not {"b", "i", "u", "script"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    sources = [a.get("src") or a.get("xlink:href") or "" for tag, a in page.tags if tag != "a"]
    assert all(s.startswith(("data:", "#")) for s in sources if s)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert {link.removeprefix("#") for link in links} <= set(ids)
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 14 * 4
    assert all(a["alt"].strip() for a in pictures)


def test_an_image_that_is_gone(main, root, tmp_path):
    shutil.copytree(root / "odd", tmp_path / "odd")
    for file in (tmp_path / "odd/images/val").iterdir():
        file.unlink()
    options = ["--no-speed", "--num-images", "1", "--output", str(tmp_path / "out")]
    assert main(["--models", str(root / "runs"), "--root", str(tmp_path), *options]) == 0
    text = (tmp_path / "out/index.html").read_text("utf-8")
    assert "Side by side" not in text
    assert "Which model to use" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--models", "{runs}/unett"], "unknown run 'unett'"),
        (["--models", "{runs}/mask_rcnn"], "one model; give runs of at least two"),
        (["--models", "{runs}", "--baseline", "mask_rcn"], "did you mean 'mask_rcnn'"),
        (["--models", "{runs}", "--split", "test"], "labels of odd_test aren't there"),
        (["--models", "{runs}", "--dataset", "even"], "labels of even_val aren't there"),
        (["--models", "{runs}", "--metric", "segm/AP"], "--metric doesn't go with --models"),
        (["--models", "{runs}", "--num-images", "-1"], "--num-images is -1; expected 0 or more"),
        (["{runs}", "--no-speed"], "--no-speed needs --models"),
        (["{runs}", "--num-images", "0"], "--num-images needs --models"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(main, root, tmp_path, capsys, arguments, message):
    arguments = [a.format(runs=root / "runs") for a in arguments]
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.slow
def test_speed_of_a_real_model(main, datasets_root, tmp_path):
    """The quickstart's model with random weights, and a thinner one."""
    from pathlib import Path

    from project.data.catalog import class_names
    from project.engine.config import build, load_config

    import torch
    from detectron2.config import LazyConfig

    repo = Path(__file__).parents[2]
    overrides = ["dataset.name=tiny", "dataset.test=val", "train.device=cpu"]
    for name, widths in (("thin", "[8,16,32,64]"), ("wide", "[24,48,96,192]")):
        folder = tmp_path / name
        (folder / "inference/tiny_val").mkdir(parents=True)
        own = [f"model.backbone.bottom_up.widths={widths}", f"train.output_dir={folder}"]
        cfg = load_config(repo / "configs/quickstart.py", [*overrides, *own])
        LazyConfig.save(cfg, str(folder / "config.yaml"))
        content = {"model": build(cfg.model, "model").state_dict()}
        torch.save({**content, "classes": class_names("tiny")}, folder / "model_final.pth")
        (folder / "last_checkpoint").write_text("model_final.pth")
        (folder / "inference/tiny_val/coco_instances_results.json").write_text("[]")
    arguments = ["--models", str(tmp_path / "thin"), str(tmp_path / "wide"), "--device", "cpu"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    numbers = json.loads((tmp_path / "out/models.json").read_text())
    assert numbers["not_measured"] == {}
    thin, wide = numbers["cost"]
    assert 0 < thin["parameters"] < wide["parameters"]
    assert 0 < thin["flops"] < wide["flops"]
    assert min(thin["milliseconds"], wide["milliseconds"]) > 0
    assert (tmp_path / "out/charts/cost-time.png").is_file()


# -- in a browser ---------------------------------------------------------------------------------


def find_chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "no chromium on this machine: apt-get install chromium"
        # .ci/run installs it, so that a missing one there is a fault and no reason to skip.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return found


@pytest.fixture(scope="module")
def browser():
    path = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


OVERFLOWING = """[...document.querySelectorAll('body *')].filter(e =>
  e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .pictures, svg'))
  .map(e => e.tagName + ' ' + e.className)"""
BROKEN = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)"
SVG_TEXT = """[...document.querySelectorAll('figure svg')].filter(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].some(t => {
    const box = t.getBoundingClientRect();
    return box.left < frame.left - 2 || box.right > frame.right + 2;
  });
}).map(svg => svg.closest('figure').id)"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(browser, compared, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    view = context.new_page()
    problems, requests = [], []
    view.on("console", lambda message: problems.append(message.text))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.on("request", lambda request: requests.append(request.url))
    view.goto((compared / "index.html").as_uri())
    view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert problems == []
    assert [url for url in requests if not url.startswith("data:")] == [
        (compared / "index.html").as_uri()
    ]
    assert view.evaluate("document.documentElement.scrollWidth") == width
    assert view.evaluate(OVERFLOWING) == []
    assert view.evaluate(BROKEN) == []
    assert view.evaluate(SVG_TEXT) == []
    shot = cv2.imdecode(np.frombuffer(view.screenshot(), np.uint8), 1)
    paper = np.median(shot.reshape(-1, 3), axis=0)
    assert (paper.mean() < 60) == (scheme == "dark")
    context.close()


@pytest.mark.slow
def test_the_page_on_paper(browser, compared):
    view = browser.new_page(viewport={"width": 703, "height": 900})  # A4 less its margins
    view.emulate_media(media="print")
    view.goto((compared / "index.html").as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") == 703
    assert view.evaluate(OVERFLOWING) == []
    view.close()
