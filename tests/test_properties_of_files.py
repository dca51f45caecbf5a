"""Whatever the files of a checkpoint or of a record hold, they load and work, or one sentence names them, and soon."""

import copy
import itertools
import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from stable_diffusion import StableDiffusion
from stable_diffusion.config import CLIPTextConfig
from stable_diffusion.jobs.events import Written
from stable_diffusion.jobs.files import Output
from stable_diffusion.jobs.model import Model
from stable_diffusion.jobs.record import Record, load_record, save_record
from stable_diffusion.jobs.redraw import redraw
from stable_diffusion.jobs.view import View
from stable_diffusion.weights.checkpoint import CheckpointError, read_json, weight_files
from stable_diffusion.weights.nets import describe, open_tokenizer
from stable_diffusion.weights.parts import folder_tokenizer
from stable_diffusion.weights.tensors import load, tensors_of
from tests.sentences import check_sentence
from tests.test_properties import JSON, often
from tests.test_record import GRID, ONE_ROW, RECORD

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for all examples: each overwrites what the last one has left."""
    return tmp_path_factory.mktemp("files")


def places(whole: Any, most: int = 40) -> list[tuple[Any, ...]]:
    """Where the values in a JSON object are, as keys to follow; of long lists and large objects the first."""
    inside = whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
    return [(), *((key, *rest) for key, value in itertools.islice(inside, most) for rest in places(value, most))]


def replaced(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The same, with another value at a place, or without that place where the value is `...`."""
    if not place:
        return value
    whole = copy.copy(whole)
    if len(place) == 1 and value is ...:
        del whole[place[0]]
    else:
        whole[place[0]] = replaced(whole[place[0]], place[1:], value)
    return whole


NUMBERS = st.sampled_from(
    [-1, 0, 1, 2, 3, 77, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e300, float("inf"), float("nan")]
)
VALUES = JSON | NUMBERS | st.just("<|endoftext|>") | st.just(...)


def mutated(whole: Any) -> st.SearchStrategy[Any]:
    """A JSON value with one to three of its parts changed."""
    changes = st.lists(st.tuples(st.sampled_from(places(whole)), VALUES), min_size=1, max_size=3)

    def changed(them: list[tuple[tuple[Any, ...], Any]]) -> Any:
        found = whole
        for place, value in them:
            with suppress(KeyError, IndexError, TypeError):  # that part has gone
                found = replaced(found, place, None if not place and value is ... else value)
        return found

    return changes.map(changed)


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


# Tokenizers

TOKENIZER = DATA / "sd1" / "tokenizer"
TEXT = CLIPTextConfig.from_diffusers(read_json(DATA / "sd1" / "text_encoder" / "config.json"))
KEPT = {path.name: path.read_bytes() for path in TOKENIZER.iterdir()}
FLAGS = {"lstrip": False, "rstrip": False, "normalized": True, "single_word": False, "special": False}
TOKEN = {"content": "<toy>", **FLAGS}
FORMS: dict[str, Any] = {
    "vocab.json": read_json(TOKENIZER / "vocab.json"),
    "tokenizer.json": read_json(TOKENIZER / "tokenizer.json"),
    "tokenizer_config.json": {**read_json(TOKENIZER / "tokenizer_config.json"), "added_tokens_decoder": {"400": TOKEN}},
    "special_tokens_map.json": {name: {**TOKEN, "content": "<|endoftext|>"} for name in ("pad_token", "eos_token")},
    "added_tokens.json": {"<toy>": 400, "toy": 401},
}
WORD = st.sampled_from(["a", "b</w>", "th", "e</w>", "the</w>", "", "#version", "\u2028", "\x00"]) | st.text(max_size=4)
LINE = st.lists(WORD, max_size=4).map(" ".join)
MERGES = st.lists(LINE, max_size=12).map("\n".join)


def tokenizer_or_sentence(folder: Path) -> None:
    try:
        tokenizer = open_tokenizer(folder_tokenizer(folder), TEXT)
    except CheckpointError as error:
        check_sentence(str(error), str(folder))
        return
    for text in ("", "a photo of the <toy>, " * 20, "\0 \u2028 été 日本"):
        ids, _ = tokenizer(text)
        assert len(ids) == tokenizer.length <= TEXT.max_position_embeddings
        assert all(0 <= i < TEXT.vocab_size for i in ids)


def tokenizer_folder(folder: Path, files: dict[str, Any], without: tuple[str, ...] = ()) -> Path:
    place = folder / "tokenizer"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for name, data in KEPT.items():
        if name not in without:
            (place / name).write_bytes(data)
    for name, content in files.items():
        (place / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return place


@often
@given(st.sampled_from(sorted(FORMS)).flatmap(lambda name: st.tuples(st.just(name), mutated(FORMS[name]))))
def test_any_json_file_of_a_tokenizer_is_read_or_refused(folder: Path, form: tuple[str, Any]) -> None:
    name, content = form
    without = ("vocab.json", "merges.txt") if name == "tokenizer.json" else ("tokenizer.json",)
    tokenizer_or_sentence(tokenizer_folder(folder, {name: content}, without))


@often
@given(MERGES | st.binary(max_size=40), st.sampled_from([b"#version: 0.2\n", b"", b"\xef\xbb\xbf"]))
def test_any_list_of_merges_is_read_or_refused(folder: Path, merges: str | bytes, first: bytes) -> None:
    data = merges if isinstance(merges, bytes) else merges.encode("utf-8", "surrogatepass")
    tokenizer_or_sentence(tokenizer_folder(folder, {"merges.txt": first + data}, ("tokenizer.json",)))


# Configs

CONFIGS = {
    (family, name): read_json(DATA / family / name)
    for family in ("sd1", "xl")
    for name in (
        "model_index.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    )
}


@often
@given(st.sampled_from(sorted(CONFIGS)).flatmap(lambda which: st.tuples(st.just(which), mutated(CONFIGS[which]))))
def test_any_config_is_a_checkpoint_or_one_sentence(folder: Path, form: tuple[tuple[str, str], Any]) -> None:
    (family, name), content = form
    place = folder / family
    for of, other in CONFIGS:
        if of == family:
            (place / other).parent.mkdir(parents=True, exist_ok=True)
            written(place / other, CONFIGS[of, other])
    if family == "xl":
        (place / "text_encoder_2").mkdir(exist_ok=True)
        written(place / "text_encoder_2" / "config.json", read_json(DATA / "xl" / "text_encoder_2" / "config.json"))
    written(place / name, content)
    try:
        assert describe(place).schedule.sigma_max > 0
    except CheckpointError as error:
        check_sentence(str(error), str(place))


INDEX = {"metadata": {"total_size": 4}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}


@often
@given(mutated(INDEX))
def test_any_list_of_shards_names_files_of_its_folder_or_is_refused(folder: Path, content: Any) -> None:
    place = folder / "shards"
    place.mkdir(exist_ok=True)
    for name in ("one", "two"):
        (place / f"{name}.safetensors").touch()
    written(place / "model.safetensors.index.json", content)
    try:
        files = weight_files(place, half=False)
    except CheckpointError as error:
        check_sentence(str(error), str(place))
    else:
        assert files and all(file.parent == place for file in files)


# Safetensors

DTYPES = st.sampled_from(["F32", "F16", "BF16", "F64", "F8_E4M3", "I64", "I8", "U8", "BOOL", "C64", "X", "", 3, None])
SIZES = st.sampled_from([0, 1, 2, 3, 4, 6, 24, 255, 2**31, 2**32, 2**62, 2**63, 2**64, -1, 1.5, "2", None])
PARTS = st.one_of(
    st.tuples(st.just("dtype"), DTYPES | JSON),
    st.tuples(st.just("shape"), st.lists(SIZES, max_size=5) | JSON),
    st.tuples(st.just("data_offsets"), st.lists(SIZES, max_size=3) | JSON),
)
Lie = tuple[str, Any]


def lies(names: list[str], metadata: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[str, Lie]]]:
    """What a header says otherwise: parts of its entries, whole entries, or itself."""
    one = st.tuples(st.sampled_from(names), PARTS | st.tuples(st.just("entry"), JSON) | st.just(("gone", None)))
    about = st.tuples(st.just("__metadata__"), st.tuples(st.just("entry"), metadata))
    return st.lists(one | about, max_size=3)


def lying(whole: bytes, told: list[tuple[str, Lie]], twice: list[str], length: int | None, cut: int | None) -> bytes:
    """A safetensors file with another header, in which names may stand twice, of another stated length, cut short."""
    (size,) = struct.unpack("<Q", whole[:8])
    entries = json.loads(whole[8 : 8 + size])
    for name, (part, value) in told:
        if part == "gone":
            entries.pop(name, None)
        elif part == "entry":
            entries[name] = value
        elif isinstance(entries.get(name), dict):
            entries[name] = {**entries[name], part: value}
    pairs = [*entries.items(), *((name, entries[name]) for name in twice if name in entries)]
    header = f"{{{','.join(f'{json.dumps(name)}:{json.dumps(entry)}' for name, entry in pairs)}}}"
    data = struct.pack("<Q", len(header) if length is None else length) + header.encode() + whole[8 + size :]
    return data[: len(data) if cut is None else max(0, len(data) + cut)]


LENGTHS = st.none() | st.sampled_from([0, 1, 2, 7, 8, 100, 10**6, 10**8, 2**31, 2**63, 2**64 - 1])
CUTS = st.none() | st.integers(-400, -1)


def net() -> nn.Module:
    made = nn.Module()
    made.matrix, made.kernel, made.bias = mx.zeros((2, 3)), mx.zeros((2, 3, 3, 4)), mx.zeros(2)
    return made


NET = ["matrix", "kernel", "bias", "other"]
ABOUT_NET = JSON | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)


@pytest.fixture(scope="module")
def weights(folder: Path) -> bytes:
    arrays = {"matrix": mx.ones((2, 3)), "kernel": mx.ones((2, 4, 3, 3)), "bias": mx.ones(2)}
    mx.save_safetensors(str(folder / "whole.safetensors"), arrays, {"format": "pt"})
    return (folder / "whole.safetensors").read_bytes()


@often
@given(lies(NET, ABOUT_NET), st.lists(st.sampled_from(NET), max_size=1), LENGTHS, CUTS)
def test_any_weights_are_loaded_whole_or_refused(
    folder: Path, weights: bytes, told: list[tuple[str, Lie]], twice: list[str], length: int | None, cut: int | None
) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(lying(weights, told, twice, length, cut))
    made = net()
    try:
        load(made, tensors_of([path], ()), mx.float32)
        found: dict[str, mx.array] = dict(tree_flatten(made.parameters()))
        mx.eval(found)
    except CheckpointError as error:
        check_sentence(str(error), str(path))
    else:
        wanted: dict[str, mx.array] = dict(tree_flatten(net().parameters()))
        assert {name: array.shape for name, array in found.items()} == {n: array.shape for n, array in wanted.items()}


# Records

RECORDS = {"triangle": RECORD, "row": ONE_ROW, "grid": GRID}


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, bytes]:
    for kind, record in RECORDS.items():
        save_record(record, folder / f"{kind}.safetensors")
    return {kind: (folder / f"{kind}.safetensors").read_bytes() for kind in RECORDS}


def about(whole: bytes) -> dict[str, str]:
    (size,) = struct.unpack("<Q", whole[:8])
    return dict(json.loads(whole[8 : 8 + size])["__metadata__"])


def record_or_sentence(path: Path, draw: bool = False) -> None:
    """A record, which is drawn if that is wanted, or a sentence."""
    try:
        record = load_record(path)
        assert isinstance(record, Record)
    except ValueError as error:
        check_sentence(str(error), str(path))
        return
    if not draw:
        return
    try:
        for written in redraw(path, View(), Output(str(path.with_name("drawn.png")), overwrite=True), {}):
            assert isinstance(written, Written)
    except (ValueError, ArithmeticError) as error:
        check_sentence(str(error))


NAMES = [f"row{r}.{name}" for r in range(3) for name in ("x", "clean", "frame0.noisy", "frame1.clean")]
NAMES += ["original", "mask", "row0.frame1.noisy"]


@often
@given(
    st.sampled_from(sorted(RECORDS)),
    lies(NAMES, ABOUT_NET),
    st.lists(st.sampled_from(NAMES), max_size=1),
    LENGTHS,
    CUTS,
)
def test_any_file_of_latents_is_a_record_or_one_sentence(
    folder: Path,
    records: dict[str, bytes],
    kind: str,
    told: list[tuple[str, Lie]],
    twice: list[str],
    length: int | None,
    cut: int | None,
) -> None:
    path = folder / "record.safetensors"
    path.write_bytes(lying(records[kind], told, twice, length, cut))
    record_or_sentence(path)


@pytest.fixture(scope="module")
def _one_model() -> Iterator[None]:
    """Whatever model a record names, it is this one, and it is there."""
    sd = StableDiffusion(str(DATA / "sd1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "load", lambda self: sd)
        yield


@often
@pytest.mark.usefixtures("_one_model")
@given(st.data())
def test_whatever_a_record_says_of_itself_it_is_drawn_or_refused(
    folder: Path, records: dict[str, bytes], data: st.DataObject
) -> None:
    whole = records[data.draw(st.sampled_from(sorted(RECORDS)))]
    texts = about(whole)
    which = data.draw(st.sampled_from(sorted(texts)))
    texts[which] = json.dumps(data.draw(mutated(json.loads(texts[which]))))
    path = folder / "record.safetensors"
    path.write_bytes(lying(whole, [("__metadata__", ("entry", texts))], [], None, None))
    record_or_sentence(path, draw=True)
