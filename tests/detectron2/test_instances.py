import project  # noqa: F401  isort: skip

import copy
import pickle

import pytest
import torch
from detectron2.structures import Boxes, Instances


@pytest.fixture
def record():
    return Instances(
        (10, 20),
        gt_boxes=Boxes(torch.arange(12.0).reshape(3, 4)),
        scores=torch.tensor([0.1, 0.9, 0.5]),
        names=["a", "b", "c"],
    )


def test_fields_are_attributes(record):
    record.gt_classes = torch.tensor([4, 5, 6])
    assert len(record) == 3
    assert record.image_size == (10, 20)
    assert list(record.get_fields()) == ["gt_boxes", "scores", "names", "gt_classes"]
    assert record.has("names")
    assert record.get("gt_classes") is record.gt_classes
    record.remove("names")
    assert not record.has("names")
    record._note = "an underscore makes no field"
    assert not record.has("_note")
    assert record._note.startswith("an")


def test_indexing_reaches_every_field(record):
    middle = record[1]
    assert (len(middle), middle.names) == (1, ["b"])
    assert middle.gt_boxes.tensor.tolist() == [[4, 5, 6, 7]]
    assert record[-1].names == ["c"]
    assert record[:2].names == ["a", "b"]
    record.remove("names")
    good = record[record.scores > 0.3]
    assert good.scores.tolist() == pytest.approx([0.9, 0.5])
    assert record[torch.tensor([2, 2])].gt_boxes.tensor[:, 0].tolist() == [8, 8]
    for place in (3, -4):
        with pytest.raises(IndexError):
            record[place]


def test_concatenation_joins_each_kind_of_field(record):
    both = Instances.cat([record, record[:1]])
    assert both.names == ["a", "b", "c", "a"]
    assert both.scores.shape == (4,)
    assert isinstance(both.gt_boxes, Boxes)
    assert len(both.gt_boxes) == 4
    assert Instances.cat([record]) is record


def test_concatenation_refuses_what_does_not_fit(record):
    with pytest.raises(AssertionError):
        Instances.cat([record, Instances((10, 21))])
    with pytest.raises(AssertionError):
        Instances.cat([])
    with pytest.raises(ValueError, match="concat"):
        Instances.cat([Instances((1, 1), f=(1, 2)), Instances((1, 1), f=(3,))])


def test_to_moves_what_can_move(record):
    moved = record.to("cpu")
    assert moved is not record
    assert moved.names is record.names
    assert torch.equal(moved.scores, record.scores)


def test_misuse(record):
    with pytest.raises(AssertionError):
        record.gt_classes = torch.zeros(4)
    with pytest.raises(AssertionError):
        Instances((1, 1), a=[1], b=[1, 2])
    with pytest.raises(AttributeError, match="no_such_field"):
        _ = record.no_such_field
    with pytest.raises(NotImplementedError):
        len(Instances((1, 1)))
    with pytest.raises(NotImplementedError):
        iter(record)


@pytest.mark.bundled
def test_image_size_is_read_only(record):
    with pytest.raises(AttributeError, match="read only"):
        record.image_size = (1, 1)


def test_empty_record():
    empty = Instances((3, 3), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    assert len(empty) == 0
    assert len(empty[empty.scores > 0]) == 0
    assert len(Instances.cat([empty, empty])) == 0


def test_copies_and_pickles(record):
    for twin in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert twin.image_size == record.image_size
        assert twin.names == record.names
        assert torch.equal(twin.gt_boxes.tensor, record.gt_boxes.tensor)
    assert "num_instances=3" in repr(record)
    assert "num_instances=0" in str(Instances((2, 2)))
