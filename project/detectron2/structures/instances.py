"""What is known of the objects in one image: equally long fields side by side.

Follows the API of ``detectron2.structures.instances``.
"""

from __future__ import annotations

import itertools

import torch


class Instances:
    """A record of equally long fields (boxes, classes, scores, masks, ...) of one image.

    A field is any attribute that doesn't start with an underscore; its value needs a length. A
    record is indexed like a tensor, and each field takes the index: ``found[found.scores > 0.5]``.

    Args:
        image_size: (height, width) of the image.
        fields: the first fields.
    """

    def __init__(self, image_size: tuple[int, int], **fields):
        self._image_size = image_size
        self._fields = {}
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width), read only."""
        return self._image_size

    def __setattr__(self, name: str, value) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        elif name == "image_size":
            raise AttributeError("image_size is read only; make new Instances for another size")
        else:
            self.set(name, value)

    def __getattr__(self, name: str):
        # Called only for what isn't found otherwise; `_fields` itself is missing while unpickling.
        fields = self.__dict__.get("_fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"Instances have no field {name!r}; they have {list(fields)}")

    def set(self, name: str, value) -> None:
        """Add or replace a field.

        Raises:
            AssertionError: if its length isn't that of the fields already there.
        """
        length = len(value)
        if self._fields:
            assert length == len(self), (
                f"field {name!r} has length {length}, the others have {len(self)}"
            )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether there is a field of that name."""
        return name in self._fields

    def get(self, name: str):
        """The field of that name (`KeyError` where there is none)."""
        return self._fields[name]

    def remove(self, name: str) -> None:
        """Forget a field (`KeyError` where there is none)."""
        del self._fields[name]

    def get_fields(self) -> dict:
        """Names to fields, in the order in which they were set."""
        return self._fields

    def to(self, *args, **kwargs) -> Instances:
        """The record with every field moved that has a method ``to``."""
        return self._derive(
            lambda value: value.to(*args, **kwargs) if hasattr(value, "to") else value
        )

    def __getitem__(self, item) -> Instances:
        """The record with the index applied to each field; an int keeps a record of length 1.

        Raises:
            IndexError: if an int is out of range.
        """
        if isinstance(item, int):
            place = range(len(self))[item]
            item = slice(place, place + 1)
        return self._derive(lambda value: value[item])

    def _derive(self, change) -> Instances:
        out = Instances(self._image_size)
        for name, value in self._fields.items():
            out.set(name, change(value))
        return out

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without a field have no length")

    def __iter__(self):
        raise NotImplementedError("Instances can't be iterated; index them, or iterate a field")

    @staticmethod
    def cat(instance_lists: list[Instances]) -> Instances:
        """Several records of one image as one, with the fields of the first; one is itself.

        Raises:
            AssertionError: for no record, or records of images of different sizes.
            ValueError: if a field is no tensor, no list and has no static ``cat``.
        """
        assert len(instance_lists) > 0, "want at least one record"
        assert all(isinstance(i, Instances) for i in instance_lists), "want a list of Instances"
        first, *others = instance_lists
        if not others:
            return first
        assert all(i.image_size == first.image_size for i in others), (
            f"image sizes differ: {[i.image_size for i in instance_lists]}"
        )
        joined = Instances(first.image_size)
        for name in first.get_fields():
            joined.set(name, _join(name, [record.get(name) for record in instance_lists]))
        return joined

    def __repr__(self) -> str:
        height, width = self._image_size
        count = len(self) if self._fields else 0
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={count}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )


def _join(name: str, values: list):
    kind = type(values[0])
    if issubclass(kind, torch.Tensor):
        return torch.cat(values)
    if issubclass(kind, list):
        return list(itertools.chain.from_iterable(values))
    if hasattr(kind, "cat"):
        return kind.cat(values)
    raise ValueError(f"field {name!r} of type {kind.__name__} can't be concatenated")
