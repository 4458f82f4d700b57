"""Ops: reference in plain PyTorch, contract, dispatch.  The only room that touches compiled code and kernels."""

from autometa.ops.adam import adam_
from autometa.ops.augment_images import Augment, augment_images
from autometa.ops.batch_indices import batch_indices
from autometa.ops.clip_grad import clip_grad_
from autometa.ops.conv_block import ConvBlock, conv_block
from autometa.ops.conv_stack import conv_stack
from autometa.ops.cross_entropy import cross_entropy
from autometa.ops.drop_masks import drop_masks
from autometa.ops.finite_slots import finite_slots
from autometa.ops.gather_images import gather_images
from autometa.ops.linear_head import linear_head
from autometa.ops.mixed_op import mixed_op
from autometa.ops.preprocess import preprocess
from autometa.ops.primitives import PRIMITIVES
from autometa.ops.read_ink import read_ink
from autometa.ops.reptile import reptile_
from autometa.ops.rows import Rows
from autometa.ops.sample_tasks import sample_tasks
from autometa.ops.sgd import sgd_

__all__ = [
    "PRIMITIVES",
    "Augment",
    "ConvBlock",
    "Rows",
    "adam_",
    "augment_images",
    "batch_indices",
    "clip_grad_",
    "conv_block",
    "conv_stack",
    "cross_entropy",
    "drop_masks",
    "finite_slots",
    "gather_images",
    "linear_head",
    "mixed_op",
    "preprocess",
    "read_ink",
    "reptile_",
    "sample_tasks",
    "sgd_",
]
