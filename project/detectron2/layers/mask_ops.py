"""Soft masks inside boxes become masks of the whole image.

Follows the API of ``detectron2.layers.mask_ops``. Better than there: bilinear sampling on a grid is
separable, so a pasted mask is two small matrix products, on the CPU over the box's window only; the
empty result is bool, and a GPU works through any number of masks in pieces.
"""

from __future__ import annotations

import torch

_CHUNK_BYTES = 1 << 29  # of float32 canvas that is worked on at a time


@torch.no_grad()
def paste_masks_in_image(
    masks: torch.Tensor, boxes, image_shape: tuple[int, int], threshold: float = 0.5
) -> torch.Tensor:
    """Masks stretched to their boxes in an empty image.

    The mask is sampled bilinearly at pixel centres (0 beyond its border). A box without width or
    height leaves its image empty.

    Args:
        masks: (N, M, M) values 0..1.
        boxes: (N, 4) XYXY pixels, a tensor or `Boxes`.
        image_shape: (height, width).

    Returns:
        (N, height, width) bool, value >= threshold; uint8 values 0..255 if the threshold is < 0.

    Raises:
        AssertionError: if the masks aren't square, or not as many as the boxes.
    """
    shape = tuple(masks.shape)
    assert shape == (len(masks), *shape[-1:] * 2), f"want square masks (N, M, M), got {shape}"
    boxes = getattr(boxes, "tensor", boxes)
    assert len(masks) == len(boxes), f"{len(masks)} masks for {len(boxes)} boxes"
    dtype = torch.bool if threshold >= 0 else torch.uint8
    canvas = torch.zeros((len(masks), *image_shape), dtype=dtype, device=masks.device)
    paste = _paste_windows if masks.device.type == "cpu" else _paste_whole
    height, width = image_shape
    step = max(1, _CHUNK_BYTES // (4 * max(height * width, 1)))
    # in full precision: at half, whole rows of pixels would change sides of the threshold
    with torch.autocast(masks.device.type, enabled=False):
        for i in range(0, len(masks), step):
            part = slice(i, i + step)
            paste(canvas[part], masks[part].float(), boxes[part].float(), threshold)
    return canvas


def _paste_whole(canvas, masks, boxes, threshold: float) -> None:
    rows, columns = _sampling_weights(canvas, masks.shape[1], boxes)
    canvas.copy_(_finish(rows @ masks @ columns.transpose(1, 2), threshold))


def _paste_windows(canvas, masks, boxes, threshold: float) -> None:
    rows, columns = _sampling_weights(canvas, masks.shape[1], boxes)
    limits = boxes.new_tensor([canvas.shape[2], canvas.shape[1]])
    start = _window_start(boxes[:, :2]).clamp(min=0)
    end = torch.minimum(_window_end(boxes[:, 2:]), limits)
    windows = torch.cat([start, end], dim=1).nan_to_num(0).long().tolist()
    for i, (x0, y0, x1, y1) in enumerate(windows):
        if x0 < x1 and y0 < y1:
            values = rows[i, y0:y1] @ masks[i] @ columns[i, x0:x1].T
            canvas[i, y0:y1, x0:x1] = _finish(values, threshold)


def _sampling_weights(canvas, size: int, boxes) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, height, M) and (N, width, M) bilinear weights of mask rows and columns."""
    x0, y0, x1, y1 = boxes.unbind(1)
    return _hat(canvas.shape[1], size, y0, y1), _hat(canvas.shape[2], size, x0, x1)


def _hat(length: int, size: int, start, end) -> torch.Tensor:
    """Pixel j looks at mask coordinate m = (j + 0.5 - start) / side * M - 0.5; the weight of mask
    pixel k is max(0, 1 - |m - k|)."""
    pixels = torch.arange(length, device=start.device)
    start, end = start[:, None], end[:, None]
    place = (pixels + 0.5 - start) / (end - start) * size - 0.5
    cells = torch.arange(size, device=start.device)
    weights = (1 - (place[:, :, None] - cells).abs_()).clamp_(min=0)
    near = (pixels >= _window_start(start)) & (pixels < _window_end(end)) & (end > start)
    return torch.where(near[:, :, None], weights, 0.0)


def _window_start(low: torch.Tensor) -> torch.Tensor:
    """A mask fades out beyond its box; what is further than a pixel is cut off, as upstream."""
    return low.floor() - 1


def _window_end(high: torch.Tensor) -> torch.Tensor:
    return high.ceil() + 1


def _finish(values: torch.Tensor, threshold: float) -> torch.Tensor:
    return values >= threshold if threshold >= 0 else (values * 255).to(torch.uint8)
