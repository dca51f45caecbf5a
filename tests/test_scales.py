"""8-bit floats with scales: read as the numbers that they stand for, or refused by the name of their form."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_diffusion import CheckpointError, StableDiffusion
from stable_diffusion.weights.tensors import open_tensors
from tests.ldm_files import small

UNET = "model.diffusion_model."
LAYER = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q"
Arrays = dict[str, np.ndarray]


def written(file: Path, tensors: Arrays, kinds: dict[str, str] | None = None, **metadata: str) -> Path:
    """A safetensors file, some of whose bytes are called numbers of another kind."""
    usual = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(np.uint8): "U8",
             np.dtype(np.int8): "I8", np.dtype(np.int64): "I64", np.dtype(np.float64): "F64"}  # fmt: skip
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    data, at = [], 0
    for name, array in tensors.items():
        kind = (kinds or {}).get(name, usual[array.dtype])
        end = at + array.nbytes
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, end]}
        data.append(array.tobytes())
        at = end
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    return file


def quantised(tensors: Arrays, layer: str, scale: np.ndarray, suffix: str = "scale_weight") -> tuple[Arrays, Arrays]:
    """The tensors with one weight as codes and its scale, and the float32 numbers that these stand for."""
    codes = np.random.default_rng(1).integers(0, 0x7E, tensors[f"{layer}.weight"].shape).astype(np.uint8)
    numbers = np.array(mx.from_fp8(mx.array(codes), dtype=mx.float32))
    scale = scale.astype(np.float32)
    rows = scale.reshape(-1, *(1,) * (codes.ndim - 1)) if scale.size > 1 else scale.reshape(())
    more = {f"{layer}.weight": codes, f"{layer}.{suffix}": scale}
    return tensors | more, {f"{layer}.weight": numbers * rows}


ROWS = np.linspace(0.01, 2, 32)
FORM = np.frombuffer(b'{"format": "float8_e4m3fn"}', np.uint8)
FORMS: dict[str, tuple[np.ndarray, str, Arrays, dict[str, str]]] = {
    "ComfyUI's first": (np.array(0.37), "scale_weight", {f"{UNET}scaled_fp8": np.zeros(0, np.uint8)}, {}),
    "with a scale of what goes in": (np.array([0.37]), "scale_weight", {f"{LAYER}.scale_input": np.ones(1)}, {}),
    "its second": (np.array(0.37), "weight_scale", {f"{LAYER}.comfy_quant": FORM}, {}),
    "its second, in the metadata": (
        np.array(0.37), "weight_scale", {f"{LAYER}.input_scale": np.ones((), np.float32)},
        {"_quantization_metadata": json.dumps({"layers": {LAYER: {"format": "float8_e4m3fn"}}})},
    ),
    "a scale for each row": (ROWS, "weight_scale", {}, {}),
    "a scale for each row, as a column": (ROWS[:, None], "weight_scale", {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_is_its_codes_times_its_scale(form: str, tmp_path: Path) -> None:
    scale, suffix, more, metadata = FORMS[form]
    tensors, wanted = quantised(small("sd1"), LAYER, scale, suffix)
    file = written(tmp_path / "m.safetensors", tensors | more, {f"{LAYER}.weight": "F8_E4M3"}, **metadata)
    sd = StableDiffusion(str(file), float16=False)
    weight = sd.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q.weight
    assert np.array_equal(np.array(weight), wanted[f"{LAYER}.weight"])
    plain = StableDiffusion(str(written(tmp_path / "p.safetensors", small("sd1"))), float16=False)
    ours, theirs = (dict(tree_flatten(s.unet.parameters())) for s in (sd, plain))
    assert [name for name in ours if not mx.array_equal(ours[name], theirs[name])] == [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    ]


def test_kernels_have_a_scale_for_each_of_their_outputs(tmp_path: Path) -> None:
    layer = f"{UNET}input_blocks.0.0"
    tensors, wanted = quantised(small("sd1"), layer, ROWS.reshape(32, 1, 1, 1))
    file = written(tmp_path / "m.safetensors", tensors, {f"{layer}.weight": "F8_E4M3"})
    kernel = np.array(StableDiffusion(str(file), float16=False).unet.conv_in.weight).transpose(0, 3, 1, 2)
    assert np.array_equal(kernel, wanted[f"{layer}.weight"])


def test_what_a_file_of_scaled_numbers_is_is_said(tmp_path: Path) -> None:
    tensors = small("sd1")
    kinds = {}
    for name, array in tensors.items():
        if name.startswith(UNET) and array.ndim > 1:
            tensors[name] = np.full(array.shape, 0x38, np.uint8)
            kinds[name] = "F8_E4M3"
    tensors |= {name.replace(".weight", ".scale_weight"): np.array(0.5, np.float32) for name in kinds}
    sd = StableDiffusion(str(written(tmp_path / "m.safetensors", tensors, kinds)), float16=False)
    assert "(fp8, times their scales)" in sd.notes[0]
    assert (sd.unet.conv_in.weight == 0.5).all()


def said(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


ONE = np.array(0.5, np.float32)
REFUSED: dict[str, tuple[Arrays, dict[str, str], str]] = {
    "nvfp4": ({f"{LAYER}.weight_scale": ONE, f"{LAYER}.comfy_quant": said('{"format": "nvfp4"}')}, {},
              "to_q' is {\"format\": \"nvfp4\"})"),
    "two scales": ({f"{LAYER}.weight_scale_2": ONE}, {}, "4-bit floats (nvfp4), or others with two scales"),
    "whole numbers": ({f"{LAYER}.weight_scale": ONE, f"{LAYER}.weight": np.zeros((32, 32), np.int8)}, {},
                      "to_q.weight' has numbers of I8"),
    "blocks": ({f"{LAYER}.weight_scale": np.ones((4, 4), np.float32)}, {}, "to_q.weight_scale' has shape [4, 4]"),
    "columns": ({f"{LAYER}.weight_scale": np.ones((1, 32), np.float32)}, {}, "has shape [1, 32]"),
    "inverse": ({f"{LAYER}.weight_scale_inv": ONE}, {}, "a scale for each block"),
    "a scale of nothing": ({f"{UNET}x.weight_scale": ONE}, {}, "is the scale of a weight that is not there"),
    "two scales of one": ({f"{LAYER}.weight_scale": ONE, f"{LAYER}.scale_weight": ONE}, {}, "or has another"),
    "no scale": ({f"{LAYER}.comfy_quant": FORM}, {}, "to_q' is float8_e4m3fn, and has no weight_scale"),
    "an unknown word": ({f"{LAYER}.weight_scale": ONE,
                         f"{LAYER}.comfy_quant": said('{"format": "float8_e4m3fn", "rotated": true}')}, {}, "rotated"),
    "no JSON": ({f"{LAYER}.weight_scale": ONE, f"{LAYER}.comfy_quant": said("{")}, {}, "its comfy_quant is no JSON"),
    "a list": ({f"{LAYER}.weight_scale": ONE, f"{LAYER}.comfy_quant": said("[]")}, {}, "to_q' is [])"),
    "metadata": ({}, {"_quantization_metadata": '{"layers": {"x": {"format": "mxfp8"}}}'}, '"format": "mxfp8"'),
    "no metadata": ({}, {"_quantization_metadata": "[]"}, "its comfy_quant is no JSON object"),
    "bitsandbytes": ({f"{LAYER}.weight.absmax": ONE}, {}, "bitsandbytes' 4 or 8 bits"),
    "GPTQ": ({f"{LAYER}.qweight": np.zeros((4, 4), np.int64)}, {}, "whole numbers with scales (GPTQ"),
    "quanto": ({f"{LAYER}.weight._data": np.zeros((4, 4), np.int8)}, {}, "a form of optimum-quanto or torchao"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_form_that_is_not_understood_is_refused_by_name(what: str, tmp_path: Path) -> None:
    more, metadata, why = REFUSED[what]
    codes = {f"{LAYER}.weight": np.zeros((32, 32), np.uint8)}
    kinds = {} if f"{LAYER}.weight" in more else {f"{LAYER}.weight": "F8_E4M3"}
    file = written(tmp_path / "m.safetensors", small("sd1") | codes | more, kinds, **metadata)
    with pytest.raises(CheckpointError) as caught:
        StableDiffusion(str(file))
    assert str(caught.value).startswith(f"{file} is ") and why in str(caught.value), caught.value


# 64-bit floats


def test_doubles_are_rounded_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    tensors: Arrays = {f"t{i}": rng.normal(size=(50, 40 + i)) for i in range(40)}
    tensors |= {"edges": np.array([1e300, -1e300, 1e-300, np.inf, np.nan, 0.1, -0.0]), "half": np.ones(3, np.float16)}
    tensors |= {
        "none": np.zeros((0, 3)),
        "one": np.array(0.1),
        "ids": np.arange(5),
        "codes": np.arange(9, dtype=np.int8),
    }
    file = written(tmp_path / "d.safetensors", tensors)
    read, _ = open_tensors(file)
    mx.eval(read)
    for name, array in tensors.items():
        with np.errstate(over="ignore"):
            wanted = array.astype(np.float32) if array.dtype == np.float64 else array
        assert np.array_equal(np.array(read[name]), wanted, equal_nan=True), name
        assert np.array(read[name]).dtype == wanted.dtype


def test_beside_doubles_all_kinds_are_read_as_mlx_reads_them(tmp_path: Path) -> None:
    codes = np.arange(256, dtype=np.uint8)
    tensors: Arrays = {"brain": codes, "e4m3": codes, "e5m2": codes, "half": codes, "single": codes, "flags": codes % 2}
    kinds = {"brain": "BF16", "e4m3": "F8_E4M3", "half": "F16", "single": "F32", "flags": "BOOL"}
    sizes = {"brain": 2, "half": 2, "single": 4}
    shaped = {name: a.reshape(-1, sizes.get(name, 1)) for name, a in tensors.items()}

    def file(name: str, kinds: dict[str, str], more: Arrays) -> Path:
        path = written(tmp_path / name, shaped | more, kinds)
        data = path.read_bytes()
        n = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + n])
        for entry in header.values():
            size = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}.get(entry["dtype"], 1)
            entry["shape"] = [(entry["data_offsets"][1] - entry["data_offsets"][0]) // size]
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n :])
        return path

    plain, _ = open_tensors(file("plain.safetensors", kinds, {}))
    beside, _ = open_tensors(file("beside.safetensors", kinds, {"double": np.ones(1)}))
    for name, array in plain.items():
        assert array.dtype == beside[name].dtype and mx.array_equal(array, beside[name], equal_nan=True), name
    (tmp_path / "beside.safetensors").unlink()  # nothing holds it open
    e5m2, _ = open_tensors(file("e5m2.safetensors", kinds | {"e5m2": "F8_E5M2"}, {}))
    assert mx.array_equal(e5m2["e5m2"], mx.array(codes.astype(np.uint16) << 8).view(mx.float16), equal_nan=True)


def test_of_a_file_of_doubles_a_net_reads_its_own(tmp_path: Path) -> None:
    file = written(tmp_path / "d.safetensors", {"a.x": np.zeros((500, 1000)), "b.x": np.zeros(3)})
    before = mx.get_active_memory()
    read, _ = open_tensors(file, "b.")
    assert list(read) == ["b.x"] and mx.get_active_memory() - before < 1e5


def test_a_model_of_doubles_is_written_as_float32(tmp_path: Path) -> None:
    name = f"{UNET}out.2.bias"
    file = written(tmp_path / "m.safetensors", {**small("sd1"), name: small("sd1")[name].astype(np.float64)})
    StableDiffusion(str(file), float16=False).save(tmp_path / "n.safetensors", "read")
    ours, _ = open_tensors(tmp_path / "n.safetensors")
    assert ours[name].dtype == mx.float32 and np.array_equal(np.array(ours[name]), small("sd1")[name])


def test_a_model_called_doubles_says_so(tmp_path: Path) -> None:
    tensors = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in small("sd1").items()}
    sd = StableDiffusion(str(written(tmp_path / "m.safetensors", tensors)), float16=False)
    assert "(fp64, read as fp32)" in sd.notes[0]
