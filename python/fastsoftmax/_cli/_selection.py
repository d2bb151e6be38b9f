"""The operations of ``apply`` that select: a file of (values, indices) pairs."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax._cli._common import CommandError
from fastsoftmax._cli._npy import Array

SELECTIONS = ("softmax_topk", "topk")


class Selection:
    """`softmax_topk` or `topk` with results in one structured array."""

    def __init__(self, args: argparse.Namespace, axis: Any) -> None:
        if args.k is None:
            raise CommandError(f"{args.op} needs --k, the number of elements of each row")
        if not isinstance(axis, int):
            raise CommandError(f"{args.op} works along a single axis, not --axis {args.axis}")
        for option, default in (("dtype", None), ("algorithm", "auto"), ("keepdims", False)):
            if getattr(args, option) != default:
                raise CommandError(f"--{option} has no meaning for {args.op}")
        self.k: int = args.k
        self.axis = axis
        self.options: dict[str, Any] = {}
        if args.op == "softmax_topk":
            self.options = {"temperature": args.temperature, "empty": args.empty}
        elif args.temperature != 1.0 or args.empty != "nan":
            raise CommandError("--temperature and --empty have no meaning for topk")
        self.function = getattr(fastsoftmax, args.op)

    def check(self, x: Array) -> None:
        """Refuse more elements than rows have."""
        if not -x.ndim <= self.axis < x.ndim:
            return  # the operation itself says so
        length = x.shape[self.axis]
        if self.k > length:
            raise CommandError(f"--k is {self.k}, but rows have only {length} elements")

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        """Select from `x`; an array without elements tells the dtype alone."""
        inside = -x.ndim <= self.axis < x.ndim
        k = min(self.k, x.shape[self.axis]) if inside else 0
        values, indices = self.function(x, k, self.axis, **self.options)
        if out is None:
            out = np.empty(values.shape, [("values", values.dtype), ("indices", indices.dtype)])
        out["values"] = values
        out["indices"] = indices
        return out
