"""Charts: what their markup holds, that it is safe, and that numbers stand where they belong."""

import re
import xml.etree.ElementTree as ElementTree

from project.visualization.charts import GRID, INK, MAIN, VARIABLES, WIDTH, Words, css_color
from project.visualization.plots import (
    bars,
    heat_map,
    heat_table,
    histogram,
    lines,
    picture_grid,
    scatter,
)

import cv2
import numpy as np
import pytest

WORDS = Words("a-chart", "A chart", 'It shows <two> "things" & more', "A caption.")
HOSTILE = ["<script>alert(1)</script>", "$x_{", "a\nb\x00", "日本語", "&amp;"]


def a_bar_chart(labels=("one", "two"), values=(3, 5), **more):
    return bars(WORDS, labels, {"s": values}, [MAIN], **more)


CHARTS = {
    "bars": a_bar_chart,
    "histogram": lambda: histogram(
        WORDS, [0, 1, 2], {"a": [3, 4], "b": [1, 0]}, [MAIN, INK], xlabel="x", ylabel="y",
        marks={"here": 1},
    ),
    "heat table": lambda: heat_table(WORDS, ["r"], ["a", "b"], np.array([[1, np.nan]])),
    "lines": lambda: lines(WORDS, [0, 1], {"a": [0, 1]}, [MAIN], xlabel="x", ylabel="y"),
    "scatter": lambda: scatter(WORDS, {"a": ([1], [2])}, [MAIN], xlabel="x", ylabel="y"),
    "heat map": lambda: heat_map(WORDS, np.eye(3), label="share"),
    "pictures": lambda: picture_grid(WORDS, ["a", "b"], [np.eye(4), np.ones((4, 4))]),
}  # fmt: skip


def test_marks_beyond_the_edges_are_left_out():
    chart = histogram(
        WORDS, [0, 1, 2], {"a": [3, 4]}, [MAIN], xlabel="x", ylabel="y",
        marks={"inside": 1, "beyond": 3},
    )  # fmt: skip
    assert "inside" in texts(chart.svg)
    assert "beyond" not in texts(chart.svg)


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.text]


@pytest.mark.parametrize("kind", CHARTS)
def test_every_chart_is_a_piece_of_a_page(kind):
    chart = CHARTS[kind]()
    root = ElementTree.fromstring(chart.svg)  # well-formed
    assert root.get("role") == "img"
    assert root.get("aria-label") == WORDS.alt
    assert float(root.get("viewBox").split()[2]) == pytest.approx(WIDTH, abs=1)
    assert "width" not in root.attrib  # the page decides
    ids = re.findall(r'\bid="([^"]*)"', chart.svg)
    assert len(ids) == len(set(ids)) > 0
    assert all(name.startswith("a-chart-") for name in ids)
    pointed_at = re.findall(r'(?:href="#|url\(#)([^")]*)', chart.svg)
    assert set(pointed_at) <= set(ids)
    links = re.findall(r'(?:href|src)="([^#"][^"]*)"', chart.svg)
    assert all(link.startswith("data:image/png") for link in links)
    assert "<script" not in chart.svg
    height, width = cv2.imdecode(np.frombuffer(chart.png, np.uint8), 1).shape[:2]
    assert width == pytest.approx(2 * WIDTH, abs=2)
    assert height > 100


def test_colours_follow_the_page():
    svg = a_bar_chart().svg
    assert f"var({VARIABLES[INK]})" in svg
    assert f"var({VARIABLES[GRID]})" in svg
    assert not any(color in svg for color in VARIABLES)


def test_every_variable_is_set_in_all_modes():
    from project.visualization.page.parts import HERE

    style = (HERE / "style.css").read_text()
    for variable in VARIABLES.values():
        assert style.count(f"{variable}: #") == 3, f"{variable} in light, dark and print"


def test_the_same_chart_has_the_same_bytes():
    assert a_bar_chart() == a_bar_chart()


def test_bars_stand_from_the_top_down_with_their_numbers():
    found = texts(a_bar_chart(("few", "many", "none"), (3, 12345, np.nan)).svg)
    assert found.index("few") < found.index("many") < found.index("none")
    assert {"3", "12,345"} <= set(found)
    assert "nan" not in " ".join(found)


def test_bar_lengths_are_the_values():
    svg = a_bar_chart(("a", "b"), (10, 20)).svg
    shapes = re.findall(r'd="(M[^"]*z)', svg)
    numbers = [[float(v) for v in re.findall(r"-?[\d.]+", shape)] for shape in shapes]
    widths = [max(n[0::2]) - min(n[0::2]) for n in numbers]
    assert any(w == pytest.approx(2 * v, rel=1e-3) for w in widths for v in widths if v > 20)


@pytest.mark.parametrize("log", [True, False])
def test_nothing_to_show_is_no_error(log):
    chart = a_bar_chart(("a",), (0,), log=log)
    assert "0" in texts(chart.svg)


def test_names_from_files_are_shown_as_they_are_and_do_no_harm():
    found = texts(a_bar_chart(HOSTILE, range(5)).svg)
    assert {"<script>alert(1)</scr…", "$x_{", "a·b·", "日本語", "&amp;"} <= set(found)


def test_a_heat_table_leaves_unknown_cells_empty():
    table = heat_table(
        WORDS, ["r", "s"], ["a", "b"], np.array([[1.5, np.nan], [0, 2]]), form=["{:.1f}", "{:.0f}"]
    )
    found = texts(table.svg)
    assert [t for t in found if re.fullmatch(r"[\d.]+", t)] == ["1.5", "0.0", "2"]


def test_css_colours():
    assert css_color((213, 94, 0)) == "#d55e00"
