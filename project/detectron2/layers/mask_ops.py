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
    start, end = (v[:, :, None] for v in boxes.view(-1, 2, 2).unbind(1))  # (N, 2, 1), x and y
    weights = []
    for axis, length in enumerate((canvas.shape[2], canvas.shape[1])):
        pixels = torch.arange(length, device=canvas.device)
        first, stop = _window(start[:, axis], end[:, axis], length)
        near = (pixels >= first) & (pixels < stop)
        hat = _hat(pixels, masks.shape[1], start[:, axis], end[:, axis])
        weights.append(torch.where(near[:, :, None], hat, 0.0))
    columns, rows = weights
    canvas.copy_(_finish(rows @ masks @ columns.transpose(1, 2), threshold))


def _paste_windows(canvas, masks, boxes, threshold: float) -> None:
    height, width, size = *canvas.shape[1:], masks.shape[1]
    x_windows = torch.stack(_window(boxes[:, 0], boxes[:, 2], width), dim=1).long().tolist()
    y_windows = torch.stack(_window(boxes[:, 1], boxes[:, 3], height), dim=1).long().tolist()
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        x_window, y_window = slice(*x_windows[i]), slice(*y_windows[i])
        columns = _hat(torch.arange(x_window.start, x_window.stop), size, x0, x1)
        rows = _hat(torch.arange(y_window.start, y_window.stop), size, y0, y1)
        canvas[i, y_window, x_window] = _finish(rows @ masks[i] @ columns.T, threshold)


def _window(start: torch.Tensor, end: torch.Tensor, length: int):
    """First pixel that a mask may reach along an axis, and the one past the last.

    A mask fades out beyond its box; what is further than a pixel away is cut off, as upstream. No
    pixel for a box without extent.
    """
    first = (start.floor() - 1).clamp(0, length)
    stop = torch.minimum((end.ceil() + 1).clamp(min=0), torch.full_like(end, length))
    return first, torch.where(end > start, torch.maximum(first, stop), first)


def _hat(pixels: torch.Tensor, size: int, start, end) -> torch.Tensor:
    """(..., pixels, M) bilinear weights of the mask's rows or columns at pixel centres.

    Pixel j looks at mask coordinate m = (j + 0.5 - start) / (end - start) * M - 0.5, and the weight
    of mask pixel k is max(0, 1 - |m - k|).
    """
    place = (pixels + 0.5 - start) / (end - start) * size - 0.5
    cells = torch.arange(size, device=pixels.device)
    return (1 - (place[..., None] - cells).abs_()).clamp_(min=0)


def _finish(values: torch.Tensor, threshold: float) -> torch.Tensor:
    return values >= threshold if threshold >= 0 else (values * 255).to(torch.uint8)
