"""`tools/explore.py`: what it leaves behind, and the page in a browser."""

import html.parser
import json
import os
import shutil
from pathlib import Path

from project.data.scenes import make_scenes
from project.engine.config import load_config
from project.errors import UserError

import cv2
import numpy as np
import pytest
from detectron2.config import LazyConfig

TOOL = "tools/explore.py"


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool(TOOL).main


@pytest.fixture(scope="module")
def explored(tmp_path_factory, main):
    """The folder of an exploration of a hostile little subset: train beside val."""
    root = tmp_path_factory.mktemp("explored")
    folder = make_scenes(root, sizes={"train": 10, "val": 5}).rename(root / "tiny")
    train = folder / "annotations/train.json"
    content = json.loads(train.read_text())
    first, second = content["images"][:2]
    # A name that would be markup, a class that would be mathematics, and an image that is broken.
    evil = "<img src=x onerror=alert(1)>.jpg"
    (folder / "images/train" / first["file_name"]).rename(folder / "images/train" / evil)
    first["file_name"] = evil
    (folder / "images/train" / second["file_name"]).write_bytes(b"no picture")
    for file in (train, folder / "annotations/val.json"):
        labels = content if file == train else json.loads(file.read_text())
        labels["categories"][0]["name"] = "<b>$cake_{</b>"
        file.write_text(json.dumps(labels))
    output = root / "out"
    arguments = ["--dataset", "tiny", "--root", str(root), "--output", str(output)]
    assert main([*arguments, "--workers", "1"]) == 0
    return output


def test_everything_is_there(explored):
    names = {p.relative_to(explored).as_posix() for p in explored.rglob("*") if p.is_file()}
    assert {"index.html", "numbers.json", "numbers.csv", "classes.csv", "images.csv"} <= names
    assert {"objects.csv", "audit.json", "charts/classes.png", "charts/anchor-iou.png"} <= names
    assert {"sheets/drawn-at-random.png", "sheets/the-rarest-classes.png"} <= names
    for picture in explored.glob("*/*.png"):
        assert cv2.imread(str(picture)).std() > 1, picture


def test_the_numbers_are_those_of_the_files(explored):
    numbers = json.loads((explored / "numbers.json").read_text())
    train = json.loads((explored.parent / "tiny/annotations/train.json").read_text())
    val = json.loads((explored.parent / "tiny/annotations/val.json").read_text())
    assert (numbers["split"], numbers["images"]) == ("train", 10)
    for content, labels in ((numbers, train), (numbers["compared_with"], val)):
        for category in labels["categories"]:
            own = [
                a for a in labels["annotations"]
                if a["category_id"] == category["id"] and not a["iscrowd"]
            ]  # fmt: skip
            found = content["classes"][category["name"]]
            assert found["instances"] == len(own)
            assert found["images"] == len({a["image_id"] for a in own})
    assert numbers["pixels"]["unreadable"] == 1
    assert numbers["fit"]["config"] == "mask_rcnn_R_50_FPN.py"
    assert (numbers["fit"]["shortest_side"], numbers["fit"]["longest_side"]) == (800, 1333)
    assert list(numbers["fit"]["best_anchors_by_stride"]) == ["4", "8", "16", "32", "64"]


class Page(html.parser.HTMLParser):
    """What a page holds, and that each tag is closed by its own."""

    EMPTY = {"meta", "link", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)

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


@pytest.fixture(scope="module")
def page(explored):
    read = Page((explored / "index.html").read_text("utf-8"))
    assert read.open == []
    return read


def test_the_page_stands_alone(page):
    sources = [a.get("src") or a.get("xlink:href") or "" for tag, a in page.tags if tag != "a"]
    assert all(s.startswith(("data:", "#")) for s in sources if s)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, a in page.tags for name in a)


def test_every_picture_has_words(page):
    pictures = [a for tag, a in page.tags if tag == "img"]
    charts = [a for tag, a in page.tags if tag == "svg"]
    assert len(pictures) >= 20
    assert len(charts) >= 15
    assert all(a["alt"].strip() for a in pictures)
    assert all(a["aria-label"].strip() for a in charts)


def test_names_are_shown_and_not_run(page):
    text = "".join(page.words)
    assert "<img src=x onerror=alert(1)>.jpg" in text
    assert "<b>$cake_{</b>" in text
    assert "b" not in {tag for tag, _ in page.tags}


def test_the_words_come_first_and_name_the_broken_image(page):
    text = "".join(page.words)
    assert "1 image file is missing or broken: " in text
    assert text.index("In short") < text.index("What the objects are")
    assert "training images" in text or "training image" in text
    assert "unreadable image" in text  # the audit's


def test_a_file_without_images(main, explored, tmp_path, capsys):
    labels = explored.parent / "tiny/annotations/val.json"
    arguments = ["--json", str(labels), "--classes", "dog", "person", "--no-audit"]
    config = ["--config-file", str(Path(__file__).parents[2] / "configs/quickstart.py")]
    assert main([*arguments, *config, "--output", str(tmp_path / "o")]) == 0
    assert capsys.readouterr().out == f"Open {tmp_path / 'o/index.html'}\n"
    numbers = json.loads((tmp_path / "o/numbers.json").read_text())
    assert list(numbers["classes"]) == ["dog", "person"]
    assert numbers["pixels"]["measured"] == 0
    assert numbers["fit"]["shortest_side"] == 0  # the quickstart doesn't resize
    assert list(numbers["fit"]["best_anchors_by_stride"]) == ["4", "8", "16", "32"]
    assert not (tmp_path / "o/sheets").exists()
    assert "No image was read" in (tmp_path / "o/index.html").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset", "tinny"], "unknown subset 'tinny'; did you mean 'tiny'"),
        (["--dataset", "tiny_vall"], "unknown split 'vall'; did you mean 'val'"),
        (["--dataset", "tiny", "--images", "."], "go with --json"),
        (["--json", "nowhere.json"], "nowhere.json"),
        (["--json", "x.json", "--images", "nowhere"], "image folder nowhere doesn't exist"),
        (["--dataset", "tiny", "--workers", "-1"], "--workers is -1; expected 0 or more"),
        (["--dataset", "tiny", "--classes", "hog"], "unknown class 'hog'; did you mean 'dog'"),
        (["--dataset", "tiny", "--config-file", "no.py"], "config file no.py does not exist"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(main, explored, tmp_path, capsys, arguments, message):
    root = ["--root", str(explored.parent)] if "--dataset" in arguments else []
    assert main([*arguments, *root, "--output", str(tmp_path / "o"), "--no-audit"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_configs_that_tell_no_one_size_or_are_not_safe(load_tool, tmp_path):
    tool, file = load_tool(TOOL), tmp_path / "config.yaml"
    key = "dataloader.test.mapper.augmentations.0.short_edge_length"
    config = Path(__file__).parents[2] / "configs/mask_rcnn_R_50_FPN.py"
    LazyConfig.save(load_config(config, [f"{key}=[640,800]"]), str(file))
    with pytest.raises(UserError, match=r"to short_edge_length=\[640, 800\], max_size=1333"):
        tool.config_detector(file)
    cfg = load_config(config)
    cfg.dataloader.test.mapper.augmentations[0].short_edge_length = {"_target_": "os.getpid"}
    LazyConfig.save(cfg, str(file))
    with pytest.raises(UserError, match=r"would build 'os.getpid'.*--trust builds it"):
        tool.config_detector(file)
    with pytest.raises(UserError, match="expected one number each"):
        tool.config_detector(file, trust=True)
    file.write_text("model: null")
    with pytest.raises(UserError, match="is no config of a Mask R-CNN with anchors"):
        tool.config_detector(file)


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
def test_the_page_in_a_browser(browser, explored, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    view = context.new_page()
    problems, requests = [], []
    view.on("console", lambda message: problems.append(message.text))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.on("request", lambda request: requests.append(request.url))
    view.goto((explored / "index.html").as_uri())
    view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert problems == []
    assert [url for url in requests if not url.startswith("data:")] == [
        (explored / "index.html").as_uri()
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
def test_the_page_on_paper(browser, explored):
    view = browser.new_page(viewport={"width": 703, "height": 900})  # A4 less its margins
    view.emulate_media(media="print")
    view.goto((explored / "index.html").as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") == 703
    assert view.evaluate(OVERFLOWING) == []
    # Nothing that could only be pressed, no patch of a colour that printers leave out.
    pressed = "[...document.querySelectorAll('nav, summary, .patch')].filter(e => e.offsetHeight)"
    assert view.evaluate(f"{pressed}.length") == 0
    assert view.evaluate("document.querySelectorAll('figure').length") > 20
    view.close()


@pytest.mark.slow
def test_the_browser_finds_faults(browser, tmp_path):
    """What the test above looks for, planted: it can fail."""
    file = tmp_path / "bad.html"
    file.write_text(
        "<body><div style='width: 2000px'>x</div><img src='gone.png' alt='gone'>"
        "<figure id='f'><svg width='50' height='9'><text x='40' y='9'>long text</text></svg>"
        "</figure>"
        "<script>console.error('oh')</script>"
    )
    view = browser.new_page()
    problems, requests = [], []
    view.on("console", lambda message: problems.append(message.text))
    view.on("request", lambda request: requests.append(request.url))
    view.goto(file.as_uri())
    assert "oh" in problems
    assert len(requests) == 2
    assert "DIV " in view.evaluate(OVERFLOWING)
    assert view.evaluate(BROKEN) == ["gone"]
    assert view.evaluate(SVG_TEXT) == ["f"]


@pytest.mark.slow
def test_the_real_training_file(main, coco_subset_root, tmp_path):
    """Counts, sizes and pixels of the real file, each computed a second way with pycocotools."""
    from pycocotools.coco import COCO

    folder = coco_subset_root / "train-300"
    arguments = ["--json", str(folder / "labels.json"), "--images", str(folder / "data")]
    assert main([*arguments, "--output", str(tmp_path), "--no-audit"]) == 0
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["classes"]["cake"]["images"] == 1
    assert numbers["classes"]["dog"]["images"] == 10
    coco = COCO(folder / "labels.json")
    objects = coco.loadAnns(coco.getAnnIds(iscrowd=False))
    assert numbers["objects"] == len(objects)
    assert numbers["crowd_regions"] == len(coco.anns) - len(objects)
    for category in coco.cats.values():
        own = [a for a in objects if a["category_id"] == category["id"]]
        assert numbers["classes"][category["name"]]["instances"] == len(own)
    # Masks: background and pixels claimed twice, over all images.
    background = shared = total = empty = 0
    for image in coco.imgs.values():
        claims = np.zeros((image["height"], image["width"]), int)
        crowd = np.zeros_like(claims)
        for annotation in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(annotation)
            (crowd if annotation["iscrowd"] else claims)[...] += mask
            empty += not annotation["iscrowd"] and not mask.any()
        background += ((claims + crowd) == 0).sum()
        shared += (claims > 1).sum()
        total += claims.size
    rest = numbers["masks"]["percent_of_pixels"]
    assert rest["background"] == pytest.approx(100 * background / total)
    assert rest["shared"] == pytest.approx(100 * shared / total)
    assert numbers["masks"]["measured"] == numbers["objects"] - empty
    text = (tmp_path / "index.html").read_text()
    assert "cake in 1" in text


def test_a_user_error_inside_becomes_exit_2(load_tool, monkeypatch, capsys):
    tool = load_tool(TOOL)

    def fail(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(tool, "find_sources", fail)
    assert tool.main(["--dataset", "scenes"]) == 2
    assert capsys.readouterr().err == "error: the disk is full\n"
