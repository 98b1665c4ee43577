"""A GPU that isn't there: tensors that refuse to meet the CPU's, as a GPU's do, with values computed on the CPU.

    with pretended_gpu():
        model = moved(load_model("toy-mlp-1l", device="cpu"))
        model(torch.tensor([[0, 1]]))  # RuntimeError: … at least two devices

Inside, torch's device "meta" stands for the GPU, because every build of torch knows it. What is made there or moved
there is an `OnGpu` around the values. As a GPU's tensor it refuses to be computed with together with tensors of the
CPU, but for single numbers where a GPU takes them and for indices into it; it refuses `.numpy()` and the CPU's
generators; `.tolist()`, `.item()`, masks, gradients and `bool` work.

It can't see: what a GPU's kernels lack or compute otherwise, what is slow there, what asks for "cuda" by name
(`is_cuda` is False and `torch.cuda` is not touched), code that doesn't run through torch's dispatcher. Files can't be
written of what is there nor read straight to there, and sparse tensors and `.data` set from outside are not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("meta")
MOVES = {"aten::_to_copy", "aten::copy_"}
PUTS = {"aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
TAKE_A_NUMBER, TAKE_INDICES = {"aten::fill_", *PUTS}, {"aten::index", *PUTS}  # the first besides pointwise ones
HOLDS_NOTHING = torch.ops.aten._efficientzerotensor.default  # forward-mode derivatives make it
REFUSES_META = "transformer_lens.utilities.quantization.unreadable_weight_reason"
ON_TWO = "{}: Expected all tensors to be on the same device, but found at least two devices, the GPU and cpu!"


class OnGpu(Tensor):
    """A tensor on the GPU that isn't there, around its values."""

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGpu:
        return Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=GPU,
        )

    def __init__(self, values: Tensor) -> None:
        self.values_there = values

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})

    is_meta = False

    def numpy(self, **options: Any):
        raise TypeError("can't convert a GPU's tensor to numpy: use Tensor.cpu() to copy it to the CPU first.")

    def __array__(self, *options: Any):
        return self.numpy()

    def tolist(self) -> Any:
        return self.values_there.tolist()

    def __repr__(self, **options: Any) -> str:
        return f"OnGpu({self.values_there!r})"

    def __format__(self, how: str) -> str:
        return format(self.values_there, how)


class Generator(torch.Generator):
    """A generator that knows for which device it is."""

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        self = super().__new__(cls, "cpu")
        self.on_gpu = torch.device(device) == GPU
        return self


def computed(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """What an operation of torch gives, on the device where a GPU would have it."""
    name, leaves = func._schema.name, tree_leaves((args, kwargs))
    there = [leaf for leaf in leaves if isinstance(leaf, OnGpu)]
    here = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, OnGpu)]
    if any(leaf.is_meta for leaf in here):
        raise NotImplementedError(f"{name} got a tensor that has no values: it was made in a way not known here.")
    device = kwargs.get("device")
    on_gpu = bool(there) if device is None else torch.device(device) == GPU
    if there and here and name not in MOVES:
        of_a_gpu = isinstance(args[0], OnGpu)
        checked = [args[0], *args[2:]] if name in TAKE_INDICES and of_a_gpu else leaves
        cpu = [leaf for leaf in tree_leaves(checked) if isinstance(leaf, Tensor) and not isinstance(leaf, OnGpu)]
        a_number_will_do = torch.Tag.pointwise in func.tags or name in TAKE_A_NUMBER
        written_here = name.endswith("_") and not of_a_gpu
        if written_here or any(leaf.dim() or not a_number_will_do for leaf in cpu):
            raise RuntimeError(ON_TWO.format(name))
    if device is not None:
        kwargs = kwargs | {"device": "cpu"}
    inner_args, inner_kwargs = tree_map_only(OnGpu, lambda x: x.values_there, (args, kwargs))
    result = (torch.ops.aten.zeros.default if func is HOLDS_NOTHING else func)(*inner_args, **inner_kwargs)
    if there and torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # its shape, which the wrapper has too
            func(*args, **kwargs)
    outer = {id(leaf.values_there): leaf for leaf in there}  # what was changed in place stays the tensor that it was
    return tree_map_only(Tensor, lambda x: outer[id(x)] if id(x) in outer else OnGpu(x), result) if on_gpu else result


class _Operations(TorchDispatchMode):
    """Sees what no `OnGpu` takes part in: tensors that are made or moved there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Sees what the dispatcher no longer knows: numbers that become tensors, and which generator was given."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if (generator := kwargs.get("generator")) is not None:
            there = any(isinstance(leaf, OnGpu) for leaf in tree_leaves((args, kwargs)))
            if generator.on_gpu != (there or torch.device(kwargs.get("device") or "cpu") == GPU):
                raise RuntimeError(f"{func.__name__}: Expected a generator of the device where the numbers are drawn.")
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnGpu):
            # torch would make tensors of the lists and numbers on "meta", without values
            args = (
                args[0],
                tree_map_only(list, torch.tensor, args[1], is_leaf=_is_list),
                *(torch.as_tensor(v, dtype=args[0].dtype) for v in args[2:]),
            )
        if func not in (torch.tensor, torch.as_tensor) or isinstance(args[0], Tensor):
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)  # of what is no tensor, "meta" would keep no values
        made = func(*tree_map_only(OnGpu, lambda x: x.values_there, args), **kwargs)
        return made if device is None else made.to(device)


def _is_list(index: Any) -> bool:
    return isinstance(index, list)


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Inside, the device GPU is there."""
    with ExitStack() as all_of_it:
        all_of_it.enter_context(mock.patch.object(torch, "Generator", Generator))
        all_of_it.enter_context(mock.patch(REFUSES_META, lambda weight: None))
        all_of_it.enter_context(_Functions())
        all_of_it.enter_context(_Operations())
        yield


def moved(module: nn.Module) -> nn.Module:
    """A module whose tensors are on the GPU, those that TransformerLens keeps beside the parameters too."""
    module.to(GPU)
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                setattr(part, name, value.to(GPU))
    return module
