"""The overlay benchmark at a small size: all systems draw, and its plain alternative is right."""

from project.benchmarks.matplotlib_overlay import draw_with_matplotlib
from project.benchmarks.overlay import measure_overlay
from project.errors import UserError
from project.visualization import BoxMask, DrawnObject, draw_overlay

import numpy as np
import pytest


def test_all_systems_in_one_run():
    figures = measure_overlay(2, (64, 96), repeats=1)
    assert list(figures["milliseconds"])[:2] == ["ours", "matplotlib"]
    assert len(figures["milliseconds"]) == 3
    assert len(figures["ratio"]) == 2
    ours, plain = (figures["milliseconds"][name] for name in ("ours", "matplotlib"))
    assert figures["ratio"]["matplotlib"] == pytest.approx(plain / ours, rel=0.1)


def test_wrong_numbers():
    with pytest.raises(UserError, match="expected at least 1 object"):
        measure_overlay(0)


def test_a_place_for_the_figures_is_made_before_measuring(load_tool, tmp_path, capsys):
    main = load_tool("tools/benchmark.py").main
    (tmp_path / "file").touch()
    nothing = ["overlay", "--objects", "0", "--output"]  # which the measurement refuses
    for output, message in (
        (tmp_path, "is a folder; expected a file"),
        (tmp_path / "file/figures.json", "file can't be made"),
        (tmp_path / "new/folder/figures.json", "expected at least 1 object"),
    ):
        assert main([*nothing, str(output)]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "new/folder").is_dir()


def test_matplotlib_draws_about_the_same():
    image = np.full((200, 300, 3), 120, np.uint8)
    mask = BoxMask(np.ones((80, 100), bool), 60, 70)
    objects = [DrawnObject(1, "car", (60.0, 70.0, 160.0, 150.0), mask, 0.9)]
    ours, plain = draw_overlay(image, objects), draw_with_matplotlib(image, objects)
    assert plain.shape == ours.shape
    inside = np.s_[80:140, 70:150]
    assert np.abs(ours[inside].astype(int) - plain[inside]).max() <= 3
    assert (plain[170:, 170:] == 120).all()
