"""Cross-entropy per slot. A label that is no class gives a loss that is not a number: nobody can raise on a device."""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.launch import kernel, launch


@triton.jit
def _rows(logits, labels, row, live, classes, CLASSES: tl.constexpr):
    """Logits less their maximum, the logarithm of the sum of their exponentials, and where the label stands."""
    k = tl.arange(0, CLASSES)
    there = live[:, None] & (k < classes)[None, :]
    x = tl.load(logits + (row * classes)[:, None] + k[None, :], mask=there, other=float("-inf"))
    x = tl.where(live[:, None], x, 0.0)
    x -= tl.max(x, axis=1)[:, None]
    label = tl.load(labels + row, mask=live, other=0)
    label = tl.where((label >= 0) & (label < classes), label, -1)
    return x, tl.log(tl.sum(tl.exp(x), axis=1)), label, label[:, None] == k[None, :]


@kernel
def _losses(logits, labels, losses, batch, classes, IMAGES: tl.constexpr, CLASSES: tl.constexpr):
    s = tl.program_id(0).to(tl.int64)
    total = tl.zeros([IMAGES], tl.float32)
    for first in range(0, batch, IMAGES):
        n = first + tl.arange(0, IMAGES)
        x, log_sum, label, hit = _rows(logits, labels, s * batch + n, n < batch, classes, CLASSES)
        own = log_sum - tl.sum(tl.where(hit, x, 0.0), axis=1)
        own = tl.where(label < 0, float("nan"), own)
        total += tl.where(n < batch, own, 0.0)
    tl.store(losses + s, tl.sum(total, axis=0) / batch)


@kernel
def _losses_backward(grad, logits, labels, out, batch, classes, IMAGES: tl.constexpr, CLASSES: tl.constexpr):
    s = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * IMAGES + tl.arange(0, IMAGES)
    k = tl.arange(0, CLASSES)
    row = s * batch + n
    x, log_sum, label, hit = _rows(logits, labels, row, n < batch, classes, CLASSES)
    own = (tl.exp(x - log_sum[:, None]) - tl.where(hit, 1.0, 0.0)) * (tl.load(grad + s) / batch)
    own = tl.where((label < 0)[:, None], float("nan"), own)
    there = (n < batch)[:, None] & (k < classes)[None, :]
    tl.store(out + (row * classes)[:, None] + k[None, :], own, mask=there)


def _blocks(classes: int) -> dict:
    class_block = triton.next_power_of_2(classes)
    return {"CLASSES": class_block, "IMAGES": max(1, min(32, 4096 // class_block))}


def losses(logits, labels, out) -> None:
    """Means `out [S]` over the batch of `-log softmax(logits)[label]`; logits `[S, N, K]`, labels `[S, N]`."""
    launch(_losses, (logits.shape[0],), logits, labels, out, *logits.shape[1:], **_blocks(logits.shape[2]))


def losses_backward(grad, logits, labels, out) -> None:
    """The gradient `out [S, N, K]` of the logits, from that of the losses `[S]`."""
    slots, batch, classes = logits.shape
    blocks = _blocks(classes)
    grid = (triton.cdiv(batch, blocks["IMAGES"]), slots)
    launch(_losses_backward, grid, grad, logits, labels, out, batch, classes, **blocks)
