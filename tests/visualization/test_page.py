"""Pages: escaping, nothing from outside, contrast, and that the template gets all it asks for."""

import html.parser
import re

from project.visualization.page import Column, Picture, Table, Tile, jpeg_picture, render_page
from project.visualization.page.parts import HERE

import jinja2
import numpy as np
import pytest

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\x00\ud800'


def a_page(**changes) -> str:
    values = {
        "title": "T",
        "kind": "k",
        "sections": {"a": "A", "b": "B"},
    }
    return render_page("base.html.j2", **(values | changes))


class Reader(html.parser.HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_everything_from_outside_is_escaped():
    page = a_page(title=HOSTILE, kind=HOSTILE, sections={"a": HOSTILE, "b": "B"})
    read = Reader(page)
    assert not {"script", "img"} & {tag for tag, _ in read.tags}
    assert "alert(1)" in "".join(read.words)
    page.encode("utf-8")  # no lone surrogate is left
    assert "\x00" not in page


def test_the_page_forbids_itself_every_request():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', a_page())[1]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="kind"):
        render_page("base.html.j2", title="T", sections={})


def test_links_of_the_navigation():
    read = Reader(a_page())
    assert {a["href"] for tag, a in read.tags if tag == "a"} == {"#content", "#a", "#b"}
    assert "nav" not in {tag for tag, _ in Reader(a_page(sections={"a": "A"})).tags}


def part(call: str, **values) -> Reader:
    source = '{% import "parts.html.j2" as parts %}' + f"{{{{ parts.{call} }}}}"
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True)
    return Reader(environment.from_string(source).render(**values))


def test_a_table_names_its_rows_and_columns():
    table = Table("C", [Column("class"), Column("n", "how many")], [["<b>", "3"]], ["#112233"])
    read = part("table(item)", item=table)
    heads = [attributes for tag, attributes in read.tags if tag == "th"]
    assert [h["scope"] for h in heads] == ["col", "col", "row"]
    assert heads[1]["title"] == "how many"
    assert "<b>" in read.words
    assert ("span", {"class": "patch", "style": "background: #112233"}) in read.tags


def test_tiles_and_pictures():
    assert part("tiles(items)", items=[Tile("3", "dogs")]).words.count("dogs") == 1
    picture = Picture("data:,", 4, 3, 'a "dog"', "c")
    tags = dict(part("pictures(items, 'n')", items=[picture]).tags)
    assert tags["img"] == {"src": "data:,", "width": "4", "height": "3", "alt": 'a "dog"'}


def test_pictures_are_shrunk_and_never_enlarged():
    import base64

    import cv2

    wide = np.zeros((50, 200, 3), np.uint8)
    wide[..., 0] = 250
    picture = jpeg_picture(wide, "a", "c", width=100)
    assert (picture.width, picture.height) == (100, 25)
    data = base64.b64decode(picture.source.removeprefix("data:image/jpeg;base64,"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert image.shape == (25, 100, 3)
    assert image[10, 10, 2] > 200  # red stays red
    assert jpeg_picture(wide, "a", "c", width=900).width == 200


def luminance(color: str) -> float:
    share = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_contrast_on_every_ground(mode):
    style = (HERE / "style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode]
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for ink in ("ink", "muted", "main", "second", "alarm"):
        for ground in ("paper", "panel", *(["alarm-back"] if ink in ("ink", "alarm") else [])):
            high, low = sorted([luminance(colors[ink]), luminance(colors[ground])], reverse=True)
            contrast = (high + 0.05) / (low + 0.05)
            assert contrast >= 4.5, f"{ink} on {ground}: {contrast:.2f}"  # WCAG 2, level AA


def test_the_style_asks_for_nothing():
    style = (HERE / "style.css").read_text()
    assert not re.search(r"url\(|@import|https?:", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
