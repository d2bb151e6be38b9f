"""Rules of other libraries' tensors, which the compiled part asks for where DLPack has no words.

Nothing is imported here: a tensor of a library is proof that the library is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Exported(Protocol):
    """A result with ``__dlpack__``, or as a NumPy array."""

    def array(self) -> NDArray[Any]:
        """Return the result as a NumPy array."""
        ...


def exportable(tensor: Any, name: str, writable: bool) -> Any:
    """Return the object whose ``__dlpack__`` shows the memory of `tensor` and its true values.

    Parameters
    ----------
    tensor : object with ``__dlpack__``
    name : str
        Of the parameter, for messages.
    writable : bool
        Whether the memory is going to be written.

    Raises
    ------
    RuntimeError
        For a PyTorch tensor that requires gradients while PyTorch records them.
    TypeError
        For a PyTorch tensor neither in the CPU's memory nor a GPU's, for a tensor to be written
        that is immutable, and for one that JAX traces.
    ValueError
        For a PyTorch tensor to be written that stores its values negated.
    """
    if is_instance(tensor, "torch", "Tensor"):
        return _exportable_torch(sys.modules["torch"], tensor, name, writable)
    refuse_traced(tensor, name)
    if writable and is_jax(tensor):
        raise TypeError(f"{name} is a JAX array, which is immutable; use the result instead")
    return tensor


def refuse_traced(array: Any, name: str) -> None:
    """Raise TypeError for what stands for an array while JAX traces a function."""
    if is_instance(array, "jax.core", "Tracer"):
        raise TypeError(
            f"{name} is traced by JAX (jit, vmap, grad, ...), which fastsoftmax does not know; it "
            "takes arrays that have values"
        )


def is_instance(tensor: Any, library: str, kind: str) -> bool:
    """Return whether `tensor` is of the class `kind` of a library that may not be loaded."""
    # The library may be missing, or only half imported when another thread asks.
    cls = getattr(sys.modules.get(library), kind, None)
    return cls is not None and isinstance(tensor, cls)


def is_jax(array: Any) -> bool:
    """Return whether `array` is one of JAX's."""
    return is_instance(array, "jax", "Array")


def _exportable_torch(torch: Any, tensor: Any, name: str, writable: bool) -> Any:
    if tensor.device.type == "cuda":  # the compiled part knows what to do about it
        return tensor
    if tensor.device.type != "cpu":
        raise TypeError(f"{name} is on device {tensor.device}, expected CPU")
    if tensor.requires_grad:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{name} requires gradients, which fastsoftmax does not record; pass "
                f"{name}.detach() or call under torch.no_grad()"
            )
        tensor = tensor.detach()
    # PyTorch exports the memory of a lazily negated tensor without a word about its sign.
    if tensor.is_neg():
        if writable:
            raise ValueError(
                f"{name} stores its values negated (is_neg()); pass {name}.resolve_neg()"
            )
        tensor = tensor.resolve_neg()
    return tensor


def written(tensor: Any) -> None:
    """Tell the library of `tensor` that its values have changed, where it wants to know."""
    if is_instance(tensor, "torch", "Tensor") and not tensor.is_inference():
        # Lets autograd notice that a value saved for a backward pass was overwritten.
        sys.modules["torch"].autograd.graph.increment_version(tensor)


def own_kind(like: Any, exported: Exported) -> Any:
    """Return `exported` as a tensor of the library of `like`, sharing its memory.

    Libraries without ``from_dlpack`` get a NumPy array.
    """
    from_dlpack = next(_importers(like), None)
    return exported.array() if from_dlpack is None else from_dlpack(exported)


def _importers(like: Any) -> Iterator[Callable[[Any], Any]]:
    if hasattr(like, "__array_namespace__"):
        yield like.__array_namespace__().from_dlpack
    for cls in type(like).__mro__:
        root = sys.modules.get(cls.__module__.partition(".")[0])
        for module in (root, getattr(root, "dlpack", None)):
            importer = getattr(module, "from_dlpack", None)
            if importer is not None and root is not np:
                yield importer
