"""Backgrounds, composites, light and smoothing, by numbers worked out by hand."""

from project.applications.background import (
    AlphaSmoother,
    BlurBackdrop,
    ColorBackdrop,
    ImageBackdrop,
    Look,
    composite,
    cut_out,
    harmonise,
    object_colors,
)
from project.applications.background.backdrops import fit_picture, parse_color
from project.applications.background.compose import decide_away_from_edges
from project.errors import UserError

import cv2
import numpy as np
import pytest
from PIL import Image


def columns(values: list[int], height: int) -> np.ndarray:
    """An RGB picture whose columns have these greys."""
    row = np.array(values, np.uint8)[None, :, None]
    return np.broadcast_to(row, (height, len(values), 3)).copy()


def test_a_composite_by_hand():
    colors = np.full((1, 5, 3), (200, 100, 0), np.float32)
    backdrop = np.full((1, 5, 3), (0, 50, 255), np.uint8)
    alpha = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    assert composite(colors, alpha, backdrop)[0].tolist() == [
        [0, 50, 255], [50, 62, 191], [100, 75, 128], [150, 88, 64], [200, 100, 0]
    ]  # fmt: skip


def test_alpha_0_and_1_are_exact():
    rng = np.random.default_rng(0)
    image, behind = (rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(2))
    alpha = rng.random((60, 80), dtype=np.float32)
    alpha[:, :30], alpha[:, 50:] = 0, 1
    for way in ("none", "blur"):
        made = composite(object_colors(image, alpha, way), alpha, behind)
        assert np.array_equal(made[:, :30], behind[:, :30])
        assert np.array_equal(made[:, 50:], image[:, 50:])
        cut = cut_out(object_colors(image, alpha, way), alpha)
        assert np.array_equal(cut[:, 50:, :3], image[:, 50:])
        assert not cut[:, :30].any()


def test_straight_colours_of_a_cut_out():
    colors = np.full((1, 3, 3), (200, 100, 50), np.float32)
    cut = cut_out(colors, np.array([[0.5, 1.0, 0.001]], np.float32))
    assert cut[0].tolist() == [[200, 100, 50, 128], [200, 100, 50, 255], [0, 0, 0, 0]]


def test_a_halo_goes_away():
    """A dark object before white, its edge 6 pixels wide; over black nothing may be brighter."""
    alpha = np.clip((np.arange(80, dtype=np.float32)[None] - 37) / 6, 0, 1).repeat(40, axis=0)
    truth = np.full((40, 80, 3), (60, 30, 90), np.float32)
    image = np.rint(truth * alpha[..., None] + 255 * (1 - alpha[..., None])).astype(np.uint8)
    black = np.zeros_like(image)
    wanted = composite(truth, alpha, black).astype(int)
    halo = np.abs(composite(object_colors(image, alpha, "none"), alpha, black) - wanted)
    freed = np.abs(composite(object_colors(image, alpha, "blur"), alpha, black) - wanted)
    assert halo.max() > 50
    assert freed.max() <= 3


@pytest.mark.parametrize(
    "fit, size, expected",
    [
        # 4 columns 0 40 80 120, two rows high
        ("cover", (2, 2), [40, 80]),
        ("cover", (4, 4), None),
        ("contain", (4, 4), None),
        ("crop", (1, 2), [40, 80]),
        ("crop", (2, 4), [0, 40, 80, 120]),
    ],
)
def test_the_middle_stays_in_the_middle(fit, size, expected):
    made = fit_picture(columns([0, 40, 80, 120], 2), size, fit, (9, 8, 7))
    assert made.shape == (*size, 3)
    if expected is not None:
        assert made[0, :, 0].tolist() == expected


def test_cover_enlarges_and_cuts_off_contain_shows_all():
    wide = columns([0] * 40 + [200] * 40, 20)  # 20 x 80
    cover = fit_picture(wide, (40, 40), "cover")  # twice as large, the middle 40 of 160 columns
    assert np.array_equal(cover[:, :15], np.zeros((40, 15, 3)))
    assert (cover[:, 25:] == 200).all()
    contain = fit_picture(wide, (40, 40), "contain", (9, 8, 7))  # 10 x 40 in the middle
    assert (contain[:15] == (9, 8, 7)).all()
    assert (contain[25:] == (9, 8, 7)).all()
    assert (contain[15:25, :20] == 0).all()
    assert (contain[15:25, 20:] == 200).all()


def test_of_a_panorama_only_the_middle_is_enlarged(monkeypatch):
    """10 x 2000 to 400 x 300: 40 times as large, and 7.5 of 2000 columns seen."""
    sizes, resize = [], cv2.resize
    monkeypatch.setattr(
        cv2, "resize", lambda p, size, **how: sizes.append(size) or resize(p, size, **how)
    )
    wide = columns([0] * 1000 + [200] * 1000, 10)
    made = fit_picture(wide, (400, 300), "cover")
    assert made.shape == (400, 300, 3)
    # A cubic sees two columns to each side of the edge, 80 pixels.
    assert (made[:, :69] == 0).all()
    assert (made[:, 231:] == 200).all()
    assert (made[:, 149] < 100).all()  # the middle is the middle
    assert (made[:, 150] > 100).all()
    assert sizes[0][0] <= 300 + 2 * 5 * 40
    upright = fit_picture(np.ascontiguousarray(wide.transpose(1, 0, 2)), (300, 400), "cover")
    assert np.array_equal(upright, made.transpose(1, 0, 2))


def test_too_small_to_crop():
    with pytest.raises(UserError, match=r"2 x 4 pixels .* 3 x 4: too small to crop"):
        fit_picture(columns([0, 40, 80, 120], 2), (3, 4), "crop")


def test_a_background_file_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned a quarter to the right
    Image.fromarray(columns([10] * 20 + [200] * 20, 20)).save(tmp_path / "b.png", exif=exif)
    image = np.zeros((40, 20, 3), np.uint8)
    made = ImageBackdrop(tmp_path / "b.png")(image, np.zeros((40, 20), np.float32))
    assert made[:15].max() == 10
    assert made[25:].min() == 200


def test_the_blur_has_nothing_of_the_object():
    image = np.full((90, 120, 3), (40, 120, 40), np.uint8)
    image[30:60, 40:80] = (250, 0, 0)
    alpha = (image[..., 0] == 250).astype(np.float32)
    made = BlurBackdrop(4)(image, alpha).astype(int)
    assert np.abs(made - (40, 120, 40))[alpha == 0].max() <= 2
    whole = cv2.GaussianBlur(image, (0, 0), 6).astype(int)
    assert np.abs(whole - (40, 120, 40))[alpha == 0].max() > 50  # what a plain blur would give


@pytest.mark.parametrize("percent", [0.5, 12])
def test_the_blur_is_a_gaussian(percent):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    nobody = np.zeros((90, 120), np.float32)
    made = BlurBackdrop(percent)(image, nobody).astype(int)
    sigma = percent / 100 * 150
    expected = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    assert np.abs(made - expected).max() <= 2


def test_light_goes_over_by_strength():
    rng = np.random.default_rng(0)
    dark = rng.integers(30, 90, (40, 50, 3)).astype(np.float32)
    warm = rng.integers(120, 180, (40, 50, 3)).astype(np.float32) * (1, 0.9, 0.7)
    alpha = np.zeros((40, 50), np.float32)
    alpha[10:30, 10:40] = 1

    def lab_mean(colors: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(np.float32(colors) / 255, cv2.COLOR_RGB2LAB).mean(axis=(0, 1))

    body = (slice(10, 30), slice(10, 40))
    start, goal = lab_mean(dark[body]), lab_mean(warm)
    assert np.array_equal(harmonise(dark, alpha, warm, 0), dark)
    for strength in (0.5, 1.0):
        made = lab_mean(harmonise(dark, alpha, warm, strength)[body])
        assert made == pytest.approx(start + strength * (goal - start), abs=0.3)
    assert np.array_equal(harmonise(dark, 0 * alpha, warm, 1), dark)


def test_still_pictures_average_alpha():
    smooth, picture = AlphaSmoother(0.6), np.full((20, 20, 3), 90, np.uint8)
    first = smooth(picture, np.full((20, 20), 1, np.float32))
    second = smooth(picture, np.full((20, 20), 0.5, np.float32))
    third = smooth(picture, np.full((20, 20), 0.5, np.float32))
    assert first == pytest.approx(1)
    assert second == pytest.approx(0.8)  # 0.5 + 0.6 (1 - 0.5)
    assert third == pytest.approx(0.68)  # 0.5 + 0.6 (0.8 - 0.5)
    constant = AlphaSmoother(0.6)
    alpha = np.random.default_rng(0).random((20, 20), dtype=np.float32)
    for _ in range(5):
        made = constant(picture, alpha)
    assert made == pytest.approx(alpha, abs=1e-6)


def test_flicker_gets_less_as_promised():
    smooth, picture = AlphaSmoother(0.6), np.full((60, 60, 3), 90, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(30):
        made = smooth(picture, rng.normal(0.5, 0.1, (60, 60)).astype(np.float32))
    assert made.var() == pytest.approx(0.01 * (1 - 0.6) / (1 + 0.6), rel=0.1)


def test_what_moves_drags_nothing_behind():
    smooth = AlphaSmoother(0.6)
    for step in range(5):
        picture = np.full((40, 90, 3), 30, np.uint8)
        picture[10:30, 10 + 12 * step : 30 + 12 * step] = 220
        alpha = (picture[..., 0] == 220).astype(np.float32)
        assert smooth(picture, alpha) == pytest.approx(alpha, abs=1e-3)


def test_another_video_starts_anew():
    smooth, picture = AlphaSmoother(0.6), np.full((20, 20, 3), 90, np.uint8)
    smooth(picture, np.ones((20, 20), np.float32))
    smooth.reset()
    assert smooth(picture, np.zeros((20, 20), np.float32)).max() == 0
    assert smooth(picture[:10], np.ones((10, 20), np.float32)).min() == 1
    off = AlphaSmoother(0)
    assert off(picture, np.ones((20, 20), np.float32)).min() == 1
    assert off(picture, np.zeros((20, 20), np.float32)).max() == 0


@pytest.mark.parametrize(
    "text, color",
    [("#00b140", (0, 177, 64)), ("0,177, 64", (0, 177, 64)), ("White", (255, 255, 255))],
)
def test_colors(text, color):
    assert parse_color(text) == color
    image = np.zeros((2, 3, 3), np.uint8)
    assert (ColorBackdrop(color)(image, image[..., 0]) == color).all()


@pytest.mark.parametrize("text", ["greenish", "1,2", "1,2,x", "0,0,256", "#12345", "", "#11223344"])
def test_what_is_no_color(text):
    with pytest.raises(UserError, match="unknown color"):
        parse_color(text)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ImageBackdrop("gone.jpg"), "background: image gone.jpg does not exist"),
        (lambda: ImageBackdrop(np.zeros((2, 2, 3), np.uint8), "stretch"), "unknown fit"),
        (lambda: BlurBackdrop(0), "the blur is 0 %"),
        (lambda: AlphaSmoother(1), "the smoothing is 1"),
        (lambda: Look(refine="magic"), "unknown refinement 'magic'"),
        (lambda: Look(decontaminate="magic"), "unknown decontamination 'magic'"),
        (lambda: Look(band=0), "the band is 0"),
        (lambda: Look(harmonise=1.5), "harmonise is 1.5"),
        (lambda: Look(smoothing=1.0), "the smoothing is 1"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_doubt_counts_near_edges_alone():
    probability = np.full((20, 60), 0.2, np.float32)
    probability[:, 30:] = 0.8
    made = decide_away_from_edges(probability, 4)[10]
    assert (made[:26] == 0).all()
    assert (made[26:30] == np.float32(0.2)).all()
    assert (made[30:34] == np.float32(0.8)).all()
    assert (made[34:] == 1).all()
    # A picture full of one object, or of none, has no edge that would be near.
    assert (decide_away_from_edges(np.full((5, 5), 0.8, np.float32), 2) == 1).all()
    assert (decide_away_from_edges(np.full((5, 5), 0.3, np.float32), 2) == 0).all()


def test_a_doubtful_body_is_not_seen_through():
    image = np.full((60, 100, 3), 100, np.uint8)
    image[:, 50:] = (60, 60, 200)
    probability = np.where(image[..., 2] == 200, np.float32(0.8), np.float32(0.2))
    alpha = Look().alpha(image, probability)
    assert (alpha[:, :44] == 0).all()
    assert (alpha[:, 56:] == 1).all()
    assert np.array_equal(Look(refine="none").alpha(image, probability), probability)
