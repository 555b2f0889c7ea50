"""The audit of the real 630-image subset; needs COCO_SUBSET_ROOT."""

from __future__ import annotations

from collections import Counter

from project.data.audit import audit_files


def test_the_traps_of_the_real_files_are_found(coco_subset_root):
    splits = ("train-300", "validation-300")
    sources = {
        s: (coco_subset_root / s / "labels.json", coco_subset_root / s / "data") for s in splits
    }
    sources["test"] = None, coco_subset_root / "test-30"
    report = audit_files(sources, progress=False)
    kinds = Counter(f.kind for f in report.findings)
    assert [f.annotation_id for f in report.findings if f.kind == "empty-mask"] == [2463, 3040]
    assert any("'car' is 16 in" in f.what and "and 15 here" in f.what for f in report.errors)
    assert {f.cause for f in report.findings if f.kind == "category-id-differs"} == {
        "categories-differ"
    }
    (collision,) = (f for f in report.findings if f.kind == "image-ids-collide")
    assert collision.what.startswith("300 image ids stand for other images")
    assert not kinds.keys() & {"leak", "near-leak", "duplicate-image", "near-duplicate-image"}
    # counted with pycocotools: polygons there and back on one line, which draw no pixel
    assert kinds["degenerate-mask"] == 44
    assert kinds["area-is-box-area"] == 2
    assert kinds["grey-image"] == 3
    assert kinds.keys() & {"missing-image", "unreadable-image", "size-mismatch"} == set()
