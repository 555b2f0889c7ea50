"""RoIAlign: features inside boxes, resampled to grids of one size.

Follows the API of ``detectron2.layers.roi_align`` and the numbers of torchvision's ``roi_align``
(He et al., "Mask R-CNN", arXiv:1703.06870); on a CPU it is many times faster than torchvision's.
Bilinear sampling and averaging are linear and separable, so an output cell is a sum over a few rows
of the channels-last features, the weight of each being a vertical times a horizontal one. Samples
that touch the same row are merged, and `torch.nn.functional.embedding_bag` makes the sums; with
rows and output cells exchanged it also makes the gradient. Feature maps of all levels stand in one
table, so a pyramid costs no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


class ROIAlign(nn.Module):
    """`roi_align` with fixed arguments; ``aligned=True`` is what ROIAlignV2 means."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ):
        super().__init__()
        self.output_size = _pair(output_size)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) features and (M, 5) rois (image, x0, y0, x1, y1) to (M, C, *output_size)."""
        assert rois.shape == (len(rois), 5), f"want (M, 5), got {tuple(rois.shape)}"
        settings = (self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)
        return roi_align(input, rois, *settings)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


def roi_align(
    input: torch.Tensor,
    boxes: torch.Tensor | list[torch.Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> torch.Tensor:
    """Features inside boxes, averaged over bilinear samples: (M, C, *output_size) in their dtype.

    Args:
        input: (N, C, H, W). Half precision is computed in float32.
        boxes: (M, 5) rows (image, x0, y0, x1, y1), or for each image its (M_i, 4) boxes.
        output_size: cells (height, width) per box.
        spatial_scale: feature cells per unit of the boxes.
        sampling_ratio: samples per output cell and axis; 0 or less: one for each feature cell that
            the output cell is long, rounded up.
        aligned: subtract half a feature cell from scaled boxes, so that cell centres are where they
            belong. Without it boxes are also made at least one cell long.

    A sample more than a cell outside of the map is 0. Boxes get no gradient.
    """
    rois = boxes if isinstance(boxes, torch.Tensor) else _with_image_index(boxes)
    if input.device.type == "cpu":
        level = torch.zeros(len(rois), dtype=torch.int64)
        settings = (output_size, [spatial_scale], sampling_ratio, aligned)
        return roi_align_levels([input], rois, level, *settings)
    from torchvision.ops import roi_align as torchvision_roi_align

    # At half precision a box would lie only to the pixel.
    features = input if input.dtype == torch.float64 else input.float()
    rois, size = rois.to(features.dtype), _pair(output_size)
    out = torchvision_roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned)
    return out.to(input.dtype)


def roi_align_levels(
    features: Sequence[torch.Tensor],
    rois: torch.Tensor,
    levels: torch.Tensor,
    output_size: int | tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """`roi_align` on the CPU, box m on feature map ``levels[m]``; (M, C, *output_size).

    The result is channels-last in memory.

    Args:
        features: the (N, C, H_l, W_l) maps.
        rois: (M, 5) rows (image, x0, y0, x1, y1).
        levels: (M,) int64.
        scales: feature cells per unit of the boxes, for each map.
    """
    dtype = torch.float64 if features[0].dtype == torch.float64 else torch.float32
    size, channels = _pair(output_size), features[0].shape[1]
    with torch.no_grad():
        first_row, height, width = _layout(features)
        image, boxes = rois[:, 0].long(), rois[:, 1:].to(dtype)
        boxes = boxes * torch.tensor(scales, dtype=dtype)[levels, None] - (0.5 if aligned else 0)
        height, width = height[levels], width[levels]
        first_row = first_row[levels] + image * height * width
        x0, y0, x1, y1 = boxes.unbind(1)
        vertical = _merge_samples(y0, y1, height, size[0], sampling_ratio, aligned)
        horizontal = _merge_samples(x0, x1, width, size[1], sampling_ratio, aligned)
        bags = _combine(vertical, horizontal, first_row, width)
    table = torch.cat([f.permute(0, 2, 3, 1).reshape(-1, channels) for f in features]).to(dtype)
    out = _SumBags.apply(table, *bags).to(features[0].dtype)
    return out.view(len(rois), *size, channels).permute(0, 3, 1, 2)


def crop_masks(masks: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """(N, size, size) float32: `roi_align` (aligned, adaptive) of mask n (N, H, W) in box n (N, 4).

    On the CPU only the box's window of a mask is read, and both axes are matrix products.
    """
    if masks.device.type != "cpu":
        image = torch.arange(len(boxes), device=boxes.device)[:, None]
        rois = torch.cat([image.to(boxes), boxes], dim=1)
        return roi_align(masks[:, None].float(), rois, size, 1.0, 0, True)[:, 0]
    x0, y0, x1, y1 = (boxes.detach().float() - 0.5).unbind(1)
    (height, width), out = masks.shape[1:], torch.zeros(len(masks), size, size)
    rows = _merge_samples(y0, y1, torch.full((len(masks),), height), size, 0, True)
    columns = _merge_samples(x0, x1, torch.full((len(masks),), width), size, 0, True)
    with torch.autocast("cpu", enabled=False):  # a half is rounded to 8 bits in bfloat16
        for i, mask in enumerate(masks):
            (top, by_row), (left, by_column) = rows.matrix(i), columns.matrix(i)
            window = mask[top : top + by_row.shape[1], left : left + by_column.shape[1]]
            out[i] = by_row @ window.float() @ by_column.T
    return out


@dataclass
class _Bins:
    """The cells along one axis that each of P bins of M boxes sums, and their weights.

    Bin (m, p) has ``counts[m, p]`` entries from ``starts[m, p]`` on in ``cells`` and ``weights``.
    """

    counts: torch.Tensor  # (M, P) int32
    starts: torch.Tensor  # (M, P) int32
    cells: torch.Tensor  # (E,) int32
    weights: torch.Tensor  # (E,)

    def matrix(self, box: int) -> tuple[int, torch.Tensor]:
        """First cell of a box, and the (P, cells) weights from there on."""
        counts = self.counts[box]
        begin = int(self.starts[box, 0]) if counts.numel() else 0
        part = slice(begin, begin + int(counts.sum()))
        cells, weights = self.cells[part].long(), self.weights[part]
        if len(cells) == 0:
            return 0, weights.new_zeros(len(counts), 0)
        first, last = int(cells.min()), int(cells.max())
        matrix = weights.new_zeros(len(counts), last + 1 - first)
        matrix[torch.repeat_interleave(counts), cells - first] = weights
        return first, matrix


def _merge_samples(low, high, length, bins: int, sampling_ratio: int, aligned: bool) -> _Bins:
    """The bilinear samples along one axis of M boxes, those on the same cell merged.

    Args:
        low, high: (M,) where boxes begin and end, in cells.
        length: (M,) cells of the map that the box is on.
    """
    side = high - low if aligned else (high - low).clamp(min=1)
    step = side[:, None, None] / bins
    number = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    most = int(number.max()) if len(number) else 0
    sample, bin_ = torch.arange(most), torch.arange(bins)[:, None]
    place = low[:, None, None] + bin_ * step + (sample + 0.5) * step / number  # (M, P, samples)
    length = length[:, None, None]
    used = (sample < number) & (place >= -1) & (place <= length)
    place = torch.where(used, place, 0).clamp(min=0).minimum(length - 1)
    left = place.floor()
    to_right = place - left
    share = torch.where(used, 1 / number, 0)
    # scatter into cells counted from the first one that a bin touches
    first = torch.where(used, left, torch.inf).amin(2, keepdim=True) if most else low[:, None, None]
    slot = torch.where(used, left - first, 0).long()
    width = int(slot.max()) + 2 if slot.numel() else 0
    dense = place.new_zeros(len(low), bins, width)
    dense.scatter_add_(2, slot, share * (1 - to_right))
    dense.scatter_add_(2, slot + 1, share * to_right)
    box, bin_, slot = dense.nonzero(as_tuple=True)
    counts = dense.count_nonzero(2)
    starts = counts.flatten().cumsum(0).view_as(counts) - counts
    cells = slot + first[box, bin_, 0].long() if most else slot
    weights = dense[box, bin_, slot]
    return _Bins(counts.int(), starts.int(), cells.int(), weights)


def _combine(vertical: _Bins, horizontal: _Bins, first_row, width):
    """Bags of table rows of all M x P x Q output cells: row indices, bag offsets, weights."""
    shape = (*vertical.counts.shape, horizontal.counts.shape[1])
    tall, top = (v[:, :, None].expand(shape).flatten() for v in (vertical.counts, vertical.starts))
    wide, left = (
        h[:, None, :].expand(shape).flatten() for h in (horizontal.counts, horizontal.starts)
    )
    # First one line for each row of cells in a bag, then one entry for each cell of a line.
    bag, line_of_bag = _ragged(tall, top)
    box = bag // (shape[1] * shape[2])
    line_row = _take(first_row.int(), box) + _take(vertical.cells, line_of_bag) * _take(
        width.int(), box
    )
    line_weight = _take(vertical.weights, line_of_bag)
    line, cell = _ragged(_take(wide, bag), _take(left, bag))
    rows = _take(line_row, line) + _take(horizontal.cells, cell)
    weights = _take(line_weight, line) * _take(horizontal.weights, cell)
    offsets = F.pad((tall * wide).cumsum(0, dtype=torch.int32), (1, 0))
    return rows, offsets, weights


def _ragged(counts: torch.Tensor, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Group i and place ``starts[i] + k`` of every element k < ``counts[i]``, group by group."""
    group = torch.repeat_interleave(counts)
    shift = starts - (counts.cumsum(0, dtype=torch.int32) - counts)
    return group, torch.arange(len(group), dtype=torch.int32) + _take(shift, group)


def _take(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return values.index_select(0, index)


class _SumBags(torch.autograd.Function):
    """(B, C) weighted sums over bags of rows of a (R, C) table, differentiable in the table."""

    @staticmethod
    def forward(ctx, table, rows, offsets, weights):
        ctx.save_for_backward(rows, offsets, weights)
        ctx.table_rows = len(table)
        return _sum_bags(table, rows, offsets, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rows, offsets, weights = ctx.saved_tensors
        # The gradient of a row sums over the bags it is in: the same entries, sorted by row.
        bags = torch.repeat_interleave(offsets.diff())
        rows, order = rows.sort(stable=True)
        offsets = torch.searchsorted(
            rows, torch.arange(ctx.table_rows + 1, dtype=rows.dtype), out_int32=True
        )
        bags, weights = _take(bags, order), _take(weights, order)
        return _sum_bags(grad.contiguous(), bags, offsets, weights), None, None, None


def _sum_bags(table, rows, offsets, weights) -> torch.Tensor:
    if len(table) == 0:  # nothing to sum, whatever the bags
        return table.new_zeros(len(offsets) - 1, table.shape[1])
    return F.embedding_bag(
        rows, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _layout(features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First table row, height and width of each map in the table of all of them."""
    shapes = torch.tensor([(f.shape[0], f.shape[2], f.shape[3]) for f in features])
    rows = shapes.prod(dim=1)
    return rows.cumsum(0) - rows, shapes[:, 1], shapes[:, 2]


def _with_image_index(boxes: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([F.pad(b, (1, 0), value=float(i)) for i, b in enumerate(boxes)])


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
