"""What LoRAs do to weights: the difference that each kind stands for, and where it goes."""

import math
from collections.abc import Callable, Mapping

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..models.layers import Beside
from .checkpoint import CheckpointError
from .dialects import Target
from .lora import Change, LoRA
from .tensors import fitted, theirs

Factors = Mapping[str, mx.array]
Shape = tuple[int, ...]


def _flat(x: mx.array) -> mx.array:
    return x.reshape(x.shape[0], -1)


def lora(f: Factors) -> tuple[mx.array, int]:
    """up . down (Hu et al. 2021), with a kernel in the middle where a convolution was cut in three; and the rank."""
    up, down = f["up"], f["down"]
    if "mid" in f:
        return mx.einsum("mnhw,im,nj->ijhw", f["mid"], _flat(up), _flat(down)), down.shape[0]
    return _flat(up) @ _flat(down), down.shape[0]


def _tucker(t: mx.array, a: mx.array, b: mx.array) -> mx.array:
    return mx.einsum("ijhw,jr,ip->prhw", t, b, a)


def loha(f: Factors) -> tuple[mx.array, int]:
    """The product, number by number, of two low-rank matrices (Hyeon-Woo et al. 2021)."""

    def one(i: int) -> mx.array:
        a, b = f[f"hada_w{i}_a"], f[f"hada_w{i}_b"]
        return _tucker(f[f"hada_t{i}"], a, b) if f"hada_t{i}" in f else a @ b

    return one(1) * one(2), f["hada_w1_b"].shape[0]


def lokr(f: Factors) -> tuple[mx.array, int | None]:
    """The Kronecker product of two matrices, each perhaps of low rank (Yeh et al. 2023); no rank: both are whole."""

    def one(i: int) -> mx.array:
        if f"lokr_w{i}" in f:
            return f[f"lokr_w{i}"]
        a, b = f[f"lokr_w{i}_a"], f[f"lokr_w{i}_b"]
        if "lokr_t2" in f and i == 2:
            return _tucker(f["lokr_t2"], a, b)
        return a @ _flat(b) if b.ndim > 2 else a @ b

    w1, w2 = one(1), one(2)
    if w2.ndim == 4:
        w1 = w1[:, :, None, None]
    rank = next((f[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in f), None)
    return mx.kron(w1, w2), rank


def full(f: Factors) -> tuple[mx.array, None]:
    """The difference itself."""
    return f["diff"], None


# The factors by which a kind is known, and what it stands for.
KINDS: tuple[tuple[str, Callable[[Factors], tuple[mx.array, int | None]]], ...] = (
    ("up", lora),
    ("hada_w1_a", loha),
    ("lokr_w1", lokr),
    ("lokr_w1_a", lokr),
    ("diff", full),
)


def scale_of(change: Change, rank: int | None) -> float:
    """alpha / rank; 1 where there is no alpha, or none of either; an alpha of 0 switches off what it belongs to."""
    rank = rank or change.rank
    if rank is None or change.alpha is None:
        return 1.0
    return change.alpha / (math.sqrt(rank) if change.root else rank)


def difference(change: Change, shape: Shape) -> mx.array | None:
    """What a change adds to a weight of this shape, in PyTorch's layout, float32; None: nothing.

    Raises ValueError where it does not fit.
    """
    factors = {name: array.astype(mx.float32) for name, array in change.factors.items()}
    rule = next((rule for name, rule in KINDS if name in factors), None)
    if rule is None:
        return None
    made, rank = rule(factors)
    if made.shape[0] != shape[0]:  # kernels are flat here, but only behind their first side
        raise ValueError("it is of another shape")
    return made.reshape(shape) * scale_of(change, rank)


def decomposed(weight: mx.array, change: Change, amount: float) -> mx.array:
    """DoRA (Liu et al. 2024): the weight with the magnitudes that were learned, as far as amount says.

    The magnitude of a row of the output, or, in some files, of an input's column.
    """
    f = change.factors
    m = f["magnitude"] if "magnitude" in f else f["dora_scale"]
    rows = "magnitude" in f or m.shape[0] == weight.shape[0]
    axes = tuple(i for i in range(weight.ndim) if i != (0 if rows else 1))
    size = [1] * weight.ndim
    size[0 if rows else 1] = -1
    norm = mx.sqrt(mx.sum(weight * weight, axis=axes, keepdims=True))
    ratio = m.astype(mx.float32).reshape(size) / norm
    return weight * (amount * (ratio - 1) + 1)


def changed_weight(weight: mx.array, change: Change, amount: float) -> mx.array:
    """A weight in our layout with a change made to it, float32."""
    shape = theirs(weight.shape)
    w = weight.astype(mx.float32)
    w = w.transpose(0, 3, 1, 2) if w.ndim == 4 else w
    added = difference(change, shape)
    if "magnitude" in change.factors or "dora_scale" in change.factors:
        w = decomposed(w if added is None else w + added, change, amount)
    elif added is not None:
        w = w + amount * added
    return mx.contiguous(fitted(w, weight.shape))


def changed_bias(bias: mx.array | None, change: Change, amount: float, width: int) -> mx.array | None:
    """A bias (width,) with a change made to it, None: none before. Raises ValueError where it does not fit."""
    f = change.factors
    if "diff_b" in f:
        added = f["diff_b"].astype(mx.float32)
    elif "up_bias" in f:
        added = f["up_bias"].astype(mx.float32) * scale_of(change, f["down"].shape[0])
    else:
        return bias
    if added.size != width:
        raise ValueError("it is of another shape")
    return amount * added.reshape(-1) + (0.0 if bias is None else bias.astype(mx.float32))


def fuse(nets: Mapping[str, nn.Module], read: LoRA, unet: float, text: float, dtype: mx.Dtype) -> Callable[[], None]:
    """Make a LoRA's changes to the nets; beside the weights of quantised layers, which keep theirs.

    unet, text: how much of them, in the UNet and in the text encoders. What is returned takes it all back, to the bit.
    Raises CheckpointError, one sentence, for a change that does not fit its module, and then makes none of them.
    """
    modules = {(name, path): module for name, net in nets.items() for path, module in net.named_modules()}
    before: list[tuple[Target, nn.Module | dict[str, mx.array]]] = []

    def take_back() -> None:
        for target, was in reversed(before):
            if isinstance(was, nn.Module):
                _put(nets, target, was)
                continue
            module = modules[target]
            module.update(was)
            if "bias" not in was and "bias" in module:
                del module["bias"]

    for change in read.changes:
        amount = unet if change.target[0] == "unet" else text
        module = modules[change.target]
        try:
            if isinstance(module, nn.QuantizedLinear | Beside):
                beside = _put_beside(module, change, amount, dtype)
                _put(nets, change.target, beside)
                before.append((change.target, module))
                modules[change.target] = beside
                continue
            own = {name: module[name] for name in ("weight", "bias") if name in module}
            weight = changed_weight(own["weight"], change, amount).astype(own["weight"].dtype)
            bias = changed_bias(own.get("bias"), change, amount, weight.shape[0])
        except (ValueError, KeyError, IndexError) as error:
            take_back()
            raise _misfit(read, change, module, error) from None
        before.append((change.target, own))
        module.weight = weight
        if bias is not None:
            module.bias = bias.astype(weight.dtype)
    return take_back


def _put(nets: Mapping[str, nn.Module], target: Target, module: nn.Module) -> None:
    """A module in the place of another."""
    nets[target[0]].update_modules(tree_unflatten([(target[1], module)]))


def _misfit(read: LoRA, change: Change, module: nn.Module, error: Exception) -> CheckpointError:
    shapes = ", ".join(f"{name} {tuple(f.shape)}" for name, f in change.factors.items() if f.size > 1)
    quantised = Beside(module) if isinstance(module, nn.QuantizedLinear) else module
    own = quantised.shape if isinstance(quantised, Beside) else theirs(module.weight.shape)
    return CheckpointError(
        f"{read.file}: {change.theirs!r} ({shapes}) does not fit this model, whose own shape is {own}: was it made for "
        "another?"
    )


def _put_beside(module: nn.QuantizedLinear | Beside, change: Change, amount: float, dtype: mx.Dtype) -> Beside:
    """A change to a quantised layer: low-rank factors as they are, everything else as the difference that it makes."""
    beside = Beside(module.base if isinstance(module, Beside) else module)
    if isinstance(module, Beside):
        beside.downs, beside.ups = list(module.downs), list(module.ups)
        if "difference" in module:
            beside.difference = module.difference
    factors = change.factors
    if "up" in factors and not {"mid", "magnitude", "dora_scale"} & factors.keys():
        up, down = _flat(factors["up"]), _flat(factors["down"])
        if (up.shape[0], down.shape[1]) != beside.shape or up.shape[1] != down.shape[0]:
            raise ValueError("it is of another shape")
        scale = amount * scale_of(change, down.shape[0])
        beside.downs.append(down.astype(dtype))
        beside.ups.append((up.astype(mx.float32) * scale).astype(dtype))
    else:
        whole = beside.whole()
        added = changed_weight(whole, change, amount) - whole
        beside.difference = (added + beside.get("difference", 0.0)).astype(dtype)
    own = module.get("shift") if isinstance(module, Beside) else None
    shift = changed_bias(own, change, amount, beside.shape[0])
    if shift is not None:
        beside.shift = shift.astype(dtype)
    return beside
