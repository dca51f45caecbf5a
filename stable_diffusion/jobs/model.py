"""Which model a job is for, and what is done to it when it is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from ..config import TILE, TILES
from ..presets import DEFAULT_MODEL
from ..prompts.loras import LORA_TAGS
from ..values import Kind, check, declared, flag, is_finite, one_of, plain, rows, several, text, thawed, whole
from ..weights.checkpoint import CheckpointError
from ..weights.identity import file_hash
from ..weights.quantize import BITS, FLOATS

# The nets and all that they need are not imported before a model is wanted: options are declared here too.
if TYPE_CHECKING:
    from ..pipeline import Planner, Run, StableDiffusion
    from ..weights.extras import LoRAUse

LoRA = tuple[str, float, float, str | None]  # a path, how much in the UNet and in the text encoders, and its hash
Taught = tuple[str, str | None]  # the path of an embedding, and its word where it is not the file's own


def _read_lora(word: str) -> LoRA:
    """PATH, PATH:SCALE or PATH:SCALE:SCALE, of the UNet and of the text encoders. Raises ValueError."""
    path = word
    scales: list[float] = []
    while len(scales) < 2 and ":" in path:
        before, _, last = path.rpartition(":")
        try:
            scale = float(last)
        except ValueError:
            break
        path, scales = before, [scale, *scales]
    scales = scales or [1.0]
    entry = (path, scales[0], scales[-1], None)
    if not _is_lora(entry):
        raise ValueError(f"{word[:80]!r} is not PATH, PATH:SCALE or PATH:SCALE:SCALE")
    return entry


def _is_lora(entry: Any) -> bool:
    if not isinstance(entry, tuple | list) or len(entry) != 4:
        return False
    path, unet, texts, known = entry
    return isinstance(path, str) and bool(path) and is_finite(unet) and is_finite(texts) and _text_or_none(known)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _read_embedding(word: str) -> Taught:
    """PATH or PATH:WORD. Raises ValueError."""
    path, _, own = word.rpartition(":") if ":" in word else (word, "", "")
    if not path:
        raise ValueError(f"{word[:80]!r} is not PATH or PATH:WORD")
    return path, own or None


def _is_embedding(entry: Any) -> bool:
    fine = isinstance(entry, tuple | list) and len(entry) == 2
    return fine and isinstance(entry[0], str) and _text_or_none(entry[1])


def _read_kind(word: str) -> int | str:
    """A number of bits, or the name of a kind of floats. Raises ValueError."""
    return whole().read(word) if word.isdecimal() else word


LORA = Kind(_read_lora, (("a path, two scales and a hash", _is_lora),)).strictly()
TAUGHT = Kind(_read_embedding, (("a path and a word", _is_embedding),)).strictly()
HASHES = several(
    Kind(str, (("a name and a hash", lambda v: isinstance(v, tuple) and len(v) == 2 and all(map(_is_text, v))),)),
    "names and hashes",
)
_KINDS = f"{', '.join(map(str, BITS[:-1]))} or {BITS[-1]} bits, or {', '.join(FLOATS)}"
QUANTIZE = Kind(_read_kind, ((_KINDS, lambda v: not isinstance(v, bool) and v in (*BITS, *FLOATS)),)).strictly()


@dataclass(frozen=True)
class Model:
    """What a checkpoint is called, and how it is loaded. None: as the package does it where nobody says anything."""

    name: str = declared(
        DEFAULT_MODEL,
        text(),
        f"a name from the list below, a Hugging Face repo or a file in one, a folder, or a .safetensors file (default: "
        f"{DEFAULT_MODEL}); --model list shows sizes",
        "NAME",
    )
    hash: str | None = declared(None, text())  # of its contents, where it has been used before
    float16: bool | None = declared(None, flag())
    quantize: int | str | None = declared(
        None,
        QUANTIZE,
        f"keep each weight in {_KINDS} (small floats): less memory, less exact (8 if nothing is given)",
        "BITS",
    )
    loras: tuple[LoRA, ...] = declared(
        (),
        several(LORA, "paths, each with two scales and a hash"),
        "put a LoRA on the model, as much of it as SCALE says (default: 1), or apart for the UNet and the text, as in "
        "a.safetensors:0.8:0.5; a file, a folder or a Hub repo; several can be named",
        "PATH[:SCALE]",
    )
    lora_partial: bool = declared(False, flag(), "leave out what in a LoRA fits nothing in this model")
    vae: str | None = declared(
        None,
        text(),
        "an autoencoder instead of the model's own: a folder, a Hub repo or a file; TAESD too, which is quick",
        "PATH",
    )
    embeddings: tuple[Taught, ...] = declared(
        (),
        several(TAUGHT, "paths, each with a word"),
        "teach the model a word, by a textual inversion; without WORD it is the file's own; several can be named",
        "PATH[:WORD]",
    )
    prediction: str | None = declared(
        None,
        one_of("epsilon", "v_prediction", "sample"),
        "what the model predicts (the noise, v, or the clean picture), where its file does not say, or says it wrongly",
    )
    lora_dir: str | None = declared(
        None,
        text(),
        "the folder of the LoRAs that a prompt names, as in <lora:name:0.8> with --prompt-syntax a1111",
        "FOLDER",
    )
    tile: int | None = declared(
        None,
        TILES,
        "encode and decode pictures in stripes of about PIXELS x PIXELS: less memory, 1.2 to 1.7 times as long, the "
        f"same to 1e-5; where memory would not suffice it is so by itself ({TILE} if nothing is given)",
        "PIXELS",
    )
    tagged: tuple[tuple[str, str], ...] = declared((), HASHES)  # the LoRAs that a prompt named, and their hashes
    named_by: str | None = None  # the file that says it was made with it

    def __post_init__(self) -> None:
        check(self, MODEL_ROWS)

    @classmethod
    def of(cls, sd: "StableDiffusion") -> "Model":
        """The one that is loaded."""
        return cls(
            sd.model,
            sd.identity,
            sd.dtype == mx.float16,
            sd.quantize,
            tuple((use.path, use.unet, use.text, file_hash(use.file)) for use in sd.loras),
            sd.lora_partial,
            sd.vae,
            sd.embeddings,
            sd.prediction,
            sd.planner.lora_dir,
            sd.tile,
        )

    @property
    def uses(self) -> "tuple[LoRAUse, ...]":
        """Its LoRAs, as the pipeline takes them."""
        from ..weights.extras import LoRAUse

        return tuple(LoRAUse(path, unet, texts) for path, unet, texts, _ in self.loras)

    def planner(self) -> "Planner":
        """What knows its shapes and defaults, without its weights.

        Raises CheckpointError, for an embedding that can't be used too.
        """
        from ..pipeline import Planner
        from ..weights.embeddings import read_embedding
        from ..weights.locate import locate_extra

        try:
            planner = Planner.of(self.name, self.vae, self.prediction, self.uses, self.lora_dir)
            widths = [text.hidden_size for text in planner.description.texts]
            for path, word in self.embeddings:
                read_embedding(locate_extra(path, "an embedding"), word, widths, planner.description.family)
            return planner
        except CheckpointError as error:
            raise self._missing(error) from None

    def load(self, low_memory: bool = False) -> "StableDiffusion":
        """The model itself. Raises CheckpointError, which says where its name comes from.

        low_memory: its nets have their weights in memory only while they work; pictures are the same.
        """
        from ..pipeline import StableDiffusion

        try:
            return StableDiffusion(
                self.name,
                self.float16,
                self.quantize,
                self.uses,
                self.vae,
                self.embeddings,
                self.prediction,
                self.lora_partial,
                self.lora_dir,
                self.tile,
                low_memory,
            )
        except CheckpointError as error:
            raise self._missing(error) from None

    def changed_since(self, sd: "StableDiffusion", runs: "Sequence[Run]" = ()) -> Iterator[str]:
        """What is not what it was when this was written down: the pictures of these runs will differ."""
        was = f"is not what it was when {self.named_by} was made: the picture will differ"
        if self.hash is not None and self.hash != sd.identity:
            yield f"the model {self.name} {was}"
        for (path, *_, known), use in zip(self.loras, sd.loras, strict=True):
            if known is not None and known != file_hash(use.file):
                yield f"the LoRA {path} {was}"
        files = {name: file for run in runs for name, file in _named(run).items()}
        for name, known in self.tagged:
            if name in files and known != file_hash(files[name]):
                yield f"the LoRA {name} {was}"

    def wearing(self, use: "LoRAUse | None") -> "Model":
        """The same with one more LoRA on it."""
        if use is None:
            return self
        return replace(self, loras=(*self.loras, (use.path, use.unet, use.text, file_hash(use.file))))

    def telling(self, run: "Run") -> "Model":
        """The same, with what the LoRAs are that a run's prompt names."""
        return replace(self, tagged=tuple((name, file_hash(file)) for name, file in _named(run).items()))

    def on(self, name: str) -> "Model":
        """Another model, with what lies on this one."""
        return replace(self, name=name, hash=None, named_by=None)

    def _missing(self, error: CheckpointError) -> CheckpointError:
        if self.named_by is None:
            return error
        was = f"{self.named_by} was made with the model {self.name!r} ({(self.hash or '')[:10]})"
        flags = {"--lora": self.loras, "--vae": self.vae, "--embedding": self.embeddings}
        named = ", ".join(["--model", *(flag for flag, value in flags.items() if value)])
        return CheckpointError(f"{was}, which can't be had: name where it is with {named} ({error})")

    def as_json(self) -> dict[str, Any]:
        """As it stands in a picture's file."""
        return {name: plain(getattr(self, name)) for name in MODEL_ROWS}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Model":
        """What `as_json` wrote down. Raises ValueError for what is unknown, missing or impossible.

        What lies on a model is not in files that are older than it.
        """
        since = {name: plain(MODEL_ROWS[name].default) for name in _SINCE}
        return cls(**thawed({**since, **values} if isinstance(values, Mapping) else values, MODEL_ROWS, every=True))


def _named(run: "Run") -> dict[str, Path]:
    """The files of the LoRAs that a run's prompt names."""
    _, tags = LORA_TAGS[run.settings.prompt_syntax](run.settings.prompt)
    return {tag.name: use.file for tag, use in zip(tags, run.tagged, strict=True)}


_SINCE = ("loras", "lora_partial", "vae", "embeddings", "prediction", "lora_dir", "tile", "tagged")
MODEL_ROWS = rows(Model)
