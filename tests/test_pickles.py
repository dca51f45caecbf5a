"""Pickles that do harm, and what PyTorch writes: told apart before anything is built."""

import io
import pickle
import random
import struct
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion.weights.checkpoint import CheckpointError
from stable_diffusion.weights.opcodes import DEEPEST, Unneeded, check_program
from stable_diffusion.weights.pickles import read_pickle
from tests.torch_files import tensor, torch_file, whole_file

TABLE = {"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros((2,), np.float32)}
STEM = b"\x80\x02"
NESTED_KEY = STEM + b"}" + b")" + b"\x85" * 60_000 + b"K\x01s."


def doubled_key(times: int) -> bytes:
    """A tuple of itself twice, of that twice, ...: a key whose hash takes 2 ** times steps."""
    program = STEM + b"}" + b")q\x00"
    for k in range(times):
        program += b"h" + bytes([k]) + b"\x86q" + bytes([k + 1])
    return program + b"K\x01s."


HOSTILE = {
    "a key that nests": (NESTED_KEY, "nests values more than|other than words"),
    "a key that doubles": (doubled_key(40), "other than words"),
    "a memo without end": (STEM + b"Nr" + struct.pack("<I", 2**31 - 1) + b".", "2147483647 places in its memory"),
    "a name of a storage that nests": (STEM + b")\x85\x85\x85Q.", "refers to a storage"),
    "a number without end": (STEM + b"\x8a\xff" + b"\x01" * 255 + b".", "more than 16 bytes"),
    "lists in lists": (STEM + b"]" * (DEEPEST + 2) + b"a" * (DEEPEST + 1) + b".", "nests values more than"),
    "an instruction of its own": (STEM + b"\x82\x01.", "EXT1"),
    "a call of what is no name": (STEM + b"})R.", "calls something that has no name"),
    "a stack that is empty": (STEM + b"s.", "uses a value that it never made"),
    "a mark that is missing": (STEM + b"}u.", "uses a value that it never made"),
    "an end in the middle": (STEM + b"NN.", "ends in the middle"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_program_that_does_harm_is_refused_before_it_is_run(name: str) -> None:
    program, words = HOSTILE[name]
    started = time.process_time()
    with pytest.raises(Unneeded, match=words):
        check_program(program)
    assert time.process_time() - started < 1


def test_a_program_of_many_instructions_is_refused_in_time() -> None:
    started = time.process_time()
    with pytest.raises(Unneeded, match="more than 600000 instructions"):
        check_program(STEM + b"N0" * 1_000_000 + b".")
    assert time.process_time() - started < 10


@pytest.mark.parametrize("protocol", [4, 5])
def test_what_a_checkpoint_holds_passes(protocol: int) -> None:
    content = {
        "epoch": 3, "step": 10**12, "rate": 0.1, "done": True, "nothing": None, "name": "x", "pair": (1, (2, "y")),
        "state": [{"exp_avg": (1, 2)}, {0: "a", (1, "b"): "c"}], "places": {1, "two"},
    }  # fmt: skip
    check_program(pickle.dumps(content, protocol))


def test_an_ordered_table_that_is_made_of_something_is_refused(tmp_path: Path) -> None:
    file = torch_file(tmp_path / "m.pt", OrderedDict(), {})
    with zipfile.ZipFile(file) as archive:
        assert b"OrderedDict" in archive.read("model/data.pkl")
    program = STEM + b"ccollections\nOrderedDict\n](](K\x01K\x02ee\x85R."
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", program)
    with pytest.raises(CheckpointError, match="out of something else"):
        read_pickle(file)


def test_a_tensor_of_several_names_is_one_array(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32)
    one = tensor("0", numbers)
    found = read_pickle(torch_file(tmp_path / "m.pt", {"a": one, "b": one}, {"model/data/0": numbers.tobytes()}))
    assert found["a"] is found["b"] and found["a"].tolist() == numbers.tolist()


def test_names_that_share_a_storage_are_no_way_to_fill_a_disk(tmp_path: Path) -> None:
    numbers = np.zeros(2**18, np.float32)
    table = {f"a{k}": tensor("0", numbers) for k in range(100)}
    with pytest.raises(CheckpointError, match="many times the size of the file"):
        read_pickle(torch_file(tmp_path / "m.pt", table, {"model/data/0": numbers.tobytes()}))


@pytest.mark.parametrize("order", ["big", "BIG", "middle"])
def test_numbers_in_another_order_of_bytes_are_refused(tmp_path: Path, order: str) -> None:
    file = whole_file(tmp_path / "m.pt", TABLE)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/byteorder", order)
    with pytest.raises(CheckpointError, match="another byte order"):
        read_pickle(file)


def test_numbers_in_this_order_are_read(tmp_path: Path) -> None:
    file = whole_file(tmp_path / "m.pt", TABLE)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/byteorder", "little")
    assert mx.array_equal(read_pickle(file)["a.weight"], mx.array(TABLE["a.weight"]))


def test_a_name_twice_in_the_zip_is_refused(tmp_path: Path) -> None:
    file = whole_file(tmp_path / "m.pt", TABLE)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02N.")
    with pytest.raises(CheckpointError, match="a name twice"):
        read_pickle(file)


PIECES = [
    b"(", b"}", b"]", b")", b"t", b"\x85", b"\x86", b"\x87", b"q\x00", b"h\x00", b"r\xff\xff\xff\x7f", b"s", b"u", b"e",
    b"a", b"R", b"b", b"Q", b"X\xff\xff\xff\x7f", b"0", b"1", b"2", b"\x94", b"\x95" + b"\xff" * 8, b".", b"N",
    b"(" * 99, b"ccollections\nOrderedDict\n", b"cos\nsystem\n", b"I999999999999\n",
    b"\x8b\xff\xff\xff\x7f", b"\x85" * 99,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_no_change_of_a_file_does_harm(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    file = whole_file(tmp_path / "m.pt", TABLE)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(150):
        program = bytearray(members["model/data.pkl"])
        for _ in range(dice.randint(1, 5)):
            at = dice.randrange(len(program))
            if dice.random() < 0.4:
                program[at] = dice.randrange(256)
            else:
                program[at:at] = dice.choice(PIECES)
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name, content in (members | {"model/data.pkl": bytes(program)}).items():
                archive.writestr(name, content)
        file.write_bytes(data.getvalue())
        said = ""
        try:
            read_pickle(file)
        except CheckpointError as error:
            said = str(error)
        assert "\n" not in said
