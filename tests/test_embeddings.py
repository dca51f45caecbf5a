"""Textual inversion: which forms there are, what the word is, and where it is found."""

from pathlib import Path

import numpy as np
import pytest

from stable_diffusion import CheckpointError, StableDiffusion
from stable_diffusion.jobs.model import TAUGHT
from stable_diffusion.prompts.syntaxes import chunks_of
from tests.ldm_files import small, write

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(3, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files with the real vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    return {family: write(folder / f"{family}.safetensors", small(family)) for family in ("sd1", "xl")}


def taught(model: Path, *embeddings: object) -> StableDiffusion:
    return StableDiffusion(str(model), float16=False, embeddings=embeddings)


@pytest.fixture(scope="module")
def thing(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> StableDiffusion:
    """A model that has been taught the word 'thing'."""
    file = write(tmp_path_factory.mktemp("embeddings") / "thing.safetensors", {"emb_params": VECTORS})
    return taught(models["sd1"], file)


def ids(sd: StableDiffusion, text: str) -> list[int]:
    tokens, _ = sd.texts.tokenizers[0](text)
    return tokens[1 : tokens.index(sd.texts.tokenizers[0].eos)]


NEW = [49408, 49409, 49410]


def test_the_word_is_the_token_the_stem_or_the_one_that_is_given(models: dict[str, Path], tmp_path: Path) -> None:
    plain = write(tmp_path / "EasyNegative.safetensors", {"emb_params": VECTORS})
    token = write(tmp_path / "learned_embeds.safetensors", {"<cat-toy>": VECTORS})
    assert ids(taught(models["sd1"], plain), "easynegative") == NEW
    assert ids(taught(models["sd1"], token), "<cat-toy>") == NEW
    sd = taught(models["sd1"], (plain, "bad"))
    assert ids(sd, "bad") == NEW
    assert not set(NEW) & set(ids(sd, "EasyNegative"))


def test_vectors_of_64_bits_are_those_of_32(models: dict[str, Path], tmp_path: Path) -> None:
    sd = taught(models["sd1"], write(tmp_path / "thing.safetensors", {"emb_params": VECTORS.astype(np.float64)}))
    assert np.array_equal(np.array(sd.text_encoder.embeddings.token_embedding.weight)[49408:], VECTORS)


def test_its_vectors_take_the_place_of_the_words_tokens(models: dict[str, Path], tmp_path: Path) -> None:
    sd = taught(models["sd1"], write(tmp_path / "thing.safetensors", {"emb_params": VECTORS}))
    table = np.array(sd.text_encoder.embeddings.token_embedding.weight)
    assert table.shape == (49411, 64) and np.array_equal(table[49408:], VECTORS)
    house, a = ids(sd, "house"), ids(sd, "a")
    assert ids(sd, "a thing house") == [*a, *NEW, *house]
    one = taught(models["sd1"], write(tmp_path / "one.safetensors", {"<one>": VECTORS[0]}))
    assert ids(one, "<one>") == NEW[:1]


@pytest.mark.parametrize("text", ["THING", "a,thing.", "(thing)", "thing thing", "x thing"])
def test_a_word_is_found_in_any_case_between_other_signs(text: str, thing: StableDiffusion) -> None:
    assert [i for i in ids(thing, text) if i >= 49408] == NEW * text.lower().count("thing")


@pytest.mark.parametrize("text", ["things", "something", "thin g", "the house"])
def test_a_word_inside_of_words_is_no_word(text: str, thing: StableDiffusion, models: dict[str, Path]) -> None:
    plain = StableDiffusion(str(models["sd1"]), float16=False)
    assert ids(thing, text) == ids(plain, text)


def test_what_does_not_fit_is_told_even_where_it_begins_with_a_taught_word(
    models: dict[str, Path], tmp_path: Path
) -> None:
    sd = taught(models["sd1"], write(tmp_path / "thing.safetensors", {"emb_params": VECTORS}))
    tokens, rest = sd.texts.tokenizers[0]("thing " * 26)
    assert len(tokens) == 77 and rest == "thing"  # 25 times three of 75 fit
    _, rest = sd.texts.tokenizers[0]("a " * 74 + "thing b")
    assert rest == "thing b"  # its first vector fits, the others do not


def test_xl_takes_one_for_both_of_its_encoders(models: dict[str, Path], tmp_path: Path) -> None:
    both = {"clip_l": VECTORS, "clip_g": 2 * VECTORS}
    sd = taught(models["xl"], write(tmp_path / "thing.safetensors", both))
    for encoder, wanted in zip(sd.texts.encoders, (VECTORS, 2 * VECTORS), strict=True):
        assert np.array_equal(np.array(encoder.embeddings.token_embedding.weight)[49408:], wanted)
    assert [t("thing")[0][1:4] for t in sd.texts.tokenizers] == [NEW, NEW]


REFUSED = {
    "for XL": ({"clip_l": VECTORS, "clip_g": VECTORS}, "sd1", "is an embedding for SD XL, and this model is SD 1.x"),
    "for one encoder": ({"emb_params": VECTORS}, "xl", "is an embedding for one text encoder"),
    "of another width": ({"emb_params": VECTORS[:, :5]}, "sd1", "is an embedding of shape (3, 5)"),
    "of no vectors": ({"emb_params": VECTORS[:0]}, "sd1", "is an embedding of shape (0, 64)"),
    "unlike": ({"clip_l": VECTORS, "clip_g": VECTORS[:1]}, "xl", "has 3 vectors for one text encoder, and 1"),
    "else": ({"a": VECTORS, "b": VECTORS}, "sd1", "is no textual inversion"),
    "for SD 3": ({"clip_l": VECTORS, "clip_g": VECTORS, "t5": VECTORS}, "xl", "for Stable Diffusion 3 or Flux"),
    "of two words": ({"emb_params": VECTORS, "clip_l": VECTORS}, "sd1", "is no textual inversion for one word"),
    "a LoRA's number": ({"lora_unet_x.alpha": VECTORS}, "sd1", "is no textual inversion, but a LoRA: name it with --l"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_others_are_refused(what: str, models: dict[str, Path], tmp_path: Path) -> None:
    tensors, family, said = REFUSED[what]
    with pytest.raises(CheckpointError) as caught:
        taught(models[family], write(tmp_path / "thing.safetensors", tensors))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_further_tensors_are_left_out_and_said(models: dict[str, Path], tmp_path: Path) -> None:
    """As a count of steps lies beside vectors, and OneTrainer's vectors for what encoders give out."""
    steps = {"emb_params": VECTORS, "step": np.array([500])}
    sd = taught(models["sd1"], write(tmp_path / "thing.safetensors", steps))
    assert ids(sd, "thing") == NEW
    assert f"{tmp_path / 'thing.safetensors'} has tensors that are not used: step" in sd.notes
    both = {"clip_l": VECTORS, "clip_g": 2 * VECTORS, "clip_l_out": VECTORS, "clip_g_out": VECTORS}
    sd = taught(models["xl"], write(tmp_path / "other.safetensors", both))
    assert np.array_equal(np.array(sd.texts.encoders[1].embeddings.token_embedding.weight)[49408:], 2 * VECTORS)
    assert any(note.endswith("has tensors that are not used: clip_g_out, clip_l_out") for note in sd.notes)


def test_pickles_two_of_a_name_and_words_with_spaces_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "thing.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="is a pickle"):
        taught(models["sd1"], tmp_path / "thing.pt")
    file = write(tmp_path / "thing.safetensors", {"emb_params": VECTORS})
    with pytest.raises(CheckpointError, match="two embeddings have the word 'thing'"):
        taught(models["sd1"], file, (file, "Thing"))
    with pytest.raises(CheckpointError, match="has spaces"):
        taught(models["sd1"], (file, "two words"))


def test_an_embedding_may_lie_in_a_lora(models: dict[str, Path], tmp_path: Path) -> None:
    stem = "lora_unet_time_embedding_linear_1"
    up, down = np.zeros((128, 1), np.float32), np.zeros((1, 32), np.float32)
    tensors = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    tensors["bundle_emb.thing.string_to_param.*"] = VECTORS
    file = write(tmp_path / "l.safetensors", tensors)
    sd = StableDiffusion(str(models["sd1"]), float16=False, loras=[file])
    assert ids(sd, "a thing")[1:] == NEW and "words that were taught: thing" in sd.notes


@pytest.mark.parametrize(("words", "entry"), [("a.safetensors", ("a.safetensors", None)), ("a:<b>", ("a", "<b>"))])
def test_an_embedding_is_written_with_its_word(words: str, entry: tuple[str, str | None]) -> None:
    assert TAUGHT.read(words) == entry


def test_comfyui_names_an_embedding(models: dict[str, Path], tmp_path: Path) -> None:
    sd = taught(models["sd1"], write(tmp_path / "Thing.safetensors", {"emb_params": VECTORS}))
    (tokenizer,) = sd.texts.tokenizers
    (comma,) = tokenizer.tokenize(",", False, False)

    def chunk(prompt: str) -> list[tuple[int, float]]:
        (found,) = chunks_of(prompt, tokenizer, "comfyui")
        return found

    new = [(i, 1.0) for i in NEW]
    for name in ("embedding:thing", "embedding:THING", "embedding:thing.safetensors", "embedding:thing.pt"):
        assert chunk(name) == new
    assert chunk("embedding:thing, embedding:thing,") == [*new, (comma, 1.0), *new, (comma, 1.0)]
    assert chunk("(embedding:thing:1.3)") == [(i, 1.3) for i in NEW]
    assert chunk("plain") == chunks_of("plain", tokenizer, "plain")[0]
    with pytest.raises(ValueError, match="names the embedding 'thin', and those that were named are thing"):
        chunk("a embedding:thin")
    with pytest.raises(ValueError, match="and none was named: --embedding PATH:thing names it"):
        chunks_of("embedding:thing", StableDiffusion(str(models["sd1"]), float16=False).texts.tokenizers[0], "comfyui")
