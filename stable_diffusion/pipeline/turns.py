"""The nets of a checkpoint with all that lies on them, and whose turn it is where memory is short."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from ..compute.streams import one_at_a_time
from ..models.clip import CLIPTextModel
from ..models.taesd import TinyAutoencoder
from ..models.text import TextNets
from ..models.unet import UNet2DConditionModel
from ..models.vae import AutoencoderKL
from ..prompts.tokenizer import CLIPTokenizer
from ..weights.checkpoint import CheckpointError
from ..weights.extras import LoRAUse, put_on, read_fitting
from ..weights.fuse import fuse
from ..weights.identity import checkpoint_hash
from ..weights.loading import open_checkpoint
from ..weights.locate import locate_extra
from ..weights.lora import LoRA
from ..weights.nets import describe, open_net, open_tokenizer
from ..weights.parts import Checkpoint
from ..weights.quantize import quantize as quantize_net
from ..weights.quantize import said_of
from ..weights.repo import ENDING
from ..weights.saving import read_dtypes, save_folder, save_single
from .memory import give_back, keep_in_bounds, precision


class InTurn(Mapping[str, nn.Module]):
    """Nets by name, each of which is called when it is looked at: it and those before it need not be there together."""

    def __init__(self, names: Mapping[str, str], called: Callable[[str], nn.Module]) -> None:
        """names: what each net is called here, and where it is called."""
        self._names, self._called = names, called

    def __getitem__(self, name: str) -> nn.Module:
        return self._called(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Nets:
    """What StableDiffusion knows of its nets; its arguments are explained there.

    A net is an attribute that can be deleted to free its memory.
    """

    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL | TinyAutoencoder
    text_encoder: CLIPTextModel
    text_encoder_1: CLIPTextModel
    text_encoder_2: CLIPTextModel
    tokenizer: CLIPTokenizer

    def __init__(
        self,
        model: str | Checkpoint,
        float16: bool | None,
        quantize: int | str | None,
        loras: Sequence[Any],
        vae: str | None,
        embeddings: Sequence[Any],
        prediction: str | None,
        lora_partial: bool,
        low_memory: bool,
    ) -> None:
        self.dtype = precision(float16)
        keep_in_bounds()
        checkpoint = (
            model if isinstance(model, Checkpoint) else open_checkpoint(model, self.dtype == mx.float16, vae=vae)
        )
        self.model = model if isinstance(model, str) else str(model.place)
        self.quantize = quantize
        self.description = describe(checkpoint, prediction)  # stays when the nets are deleted
        self.loras = tuple(map(LoRAUse.of, loras))
        self.embeddings = tuple((str(e), None) if isinstance(e, str | Path) else tuple(e) for e in embeddings)
        self.vae, self.prediction, self.lora_partial = vae, prediction, lora_partial
        numbers = ("_1", "_2") if self.description.xl else ("",)
        self._encoders = [f"text_encoder{number}" for number in numbers]
        self._tokenizers = [f"tokenizer{number}" for number in numbers]
        # Of the attributes that are nets, the part of the checkpoint that each of them is.
        self._parts = {"unet": "unet", **dict(zip(self._encoders, checkpoint.text_encoders, strict=True))}
        self._parts["autoencoder"] = "vae"
        for name, tokenizer, text in zip(self._tokenizers, checkpoint.tokenizers, self.description.texts, strict=True):
            setattr(self, name, open_tokenizer(tokenizer, text))
        self._worn: list[LoRAUse] = []  # a run's own LoRAs
        self._off: list[Callable[[], None]] = []  # what takes each of them off, unless nets are opened anew for it
        self.low_memory = low_memory
        self._working: set[str] = set(self._parts)  # nets that may have been read
        self.notes = self._open(list(self._parts), lora_partial)

    def _open(self, names: Sequence[str], partial: bool) -> tuple[str, ...]:
        """Open nets with all that lies on them, none of it read before it is used; what is to be said of it.

        partial: LoRAs may have parts that fit nothing.
        """
        for name in names:
            net = open_net(self.description, self._parts[name], self.dtype)
            if self.quantize is not None and name != "autoencoder":
                if (said := said_of(net)) is not None:
                    raise CheckpointError(f"{self.model} is quantised already ({said['kind']}): leave --quantize out")
                quantize_net(net, self.quantize)
            setattr(self, name, net)
        texts, loras = self.texts if set(self._encoders) <= set(names) else None, (*self.loras, *self._worn)
        family = self.description.family
        return put_on(texts, self._told, family, self.dtype, loras, self._taught, partial, names)

    @cached_property
    def _taught(self) -> list[tuple[str, str | None]]:
        """The embeddings by their files, which are looked for, perhaps on the Hub, but once."""
        return [(str(locate_extra(path, "an embedding")), word) for path, word in self.embeddings]

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The nets that are still there, by name."""
        names = ("unet", *self._encoders, "autoencoder")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    @property
    def _told(self) -> dict[str, nn.Module]:
        """The nets that LoRAs change."""
        return {name: net for name, net in self.nets.items() if name != "autoencoder"}

    @property
    def texts(self) -> TextNets:
        """The text encoders and their tokenizers."""
        encoders, tokenizers = ([getattr(self, x) for x in names] for names in (self._encoders, self._tokenizers))
        return TextNets(encoders, tokenizers, self.description.xl)

    def _let_work(self, *names: str) -> None:
        """Where memory is low, let go of the weights of all nets but these, which are about to be used."""
        idle = [name for name in self.nets if name in self._working and name not in names]
        if self.low_memory and idle:
            self._let_go(idle)
        self._working |= set(names)

    def _let_go(self, names: Sequence[str]) -> None:
        """Open nets anew, so that nothing of them is in memory."""
        if self._off:  # holds what LoRAs have changed
            self._off.clear()
            names = list(dict.fromkeys((*names, *self._told)))
        self._open(names, partial=True)  # all fitted when it was first put on, and a net may have been deleted since
        mx.eval(mx.random.state)  # of which MLX has drawn numbers for new layers: unread, they would pile up
        self._working -= set(names)
        give_back(all_of_it=True)

    def _called(self, name: str) -> nn.Module:
        """A net that is about to be used."""
        self._let_work(*(self._encoders if name in self._encoders else [name]))
        net: nn.Module = getattr(self, name)
        return net

    @property
    def _in_turn(self) -> Mapping[str, nn.Module]:
        """The nets that are still there, by name, each of them called when it is looked at."""
        return InTurn({name: name for name in self.nets}, self._called)

    @one_at_a_time
    def wear(self, *uses: LoRAUse | None) -> None:
        """Fuse LoRAs into the weights instead of those that were worn before; None: the weights are as they were.

        They come back to the bit. Raises CheckpointError for a LoRA that does not fit, or that brings embeddings.
        """
        wanted = [use for use in uses if use is not None]
        if self._worn == wanted:
            return
        read = [self._wearable(use) for use in wanted]
        while self._off:
            self._off.pop()()
            self._worn.pop()
        if self.low_memory or self._worn:  # they were opened with those
            self._worn = wanted if self.low_memory else []
            self._let_go(list(self._told))
        if not self.low_memory:
            for use, lora in zip(wanted, read, strict=True):
                self._off.append(fuse(self._told, lora, use.unet, use.text, self.dtype))
                self._worn.append(use)

    def _wearable(self, use: LoRAUse) -> LoRA:
        """A LoRA that can be put on and taken off. Raises CheckpointError for any other."""
        read, _ = read_fitting(use, self._told, self.description.family, self.lora_partial)
        if read.embeddings:
            raise CheckpointError(f"{use.path} brings words of its own: name it with --lora for all pictures")
        return read

    @one_at_a_time
    def ensure_models_are_loaded(self) -> None:
        """Read every weight now instead of when it is first used. Raises ValueError where low_memory forbids it."""
        if self.low_memory:
            raise ValueError("low_memory has each net in memory only while it works: they can't all be loaded")
        self._working |= set(self._parts)
        for net in self.nets.values():
            mx.eval(net.parameters())

    @cached_property
    def identity(self) -> str:
        """A hash of the weights and configs of this checkpoint, 64 hexadecimal digits."""
        return checkpoint_hash(self.description.checkpoint, self.dtype == mx.float16)

    @one_at_a_time
    def save(self, place: str | Path, dtype: mx.Dtype | Literal["read"] | None = None) -> tuple[str, ...]:
        """Write the checkpoint as it is, LoRAs fused and quantised: a folder, or one file that ends in .safetensors.

        dtype: of its floats; "read": as each was in the files that it was read from; None: as they are now. Raises
        CheckpointError for a place that is taken, for a form that it does not have, and for embeddings, which no
        checkpoint holds; OSError where it can't be written. Returns what of it other tools would read otherwise in one
        file, in a few words each: its heads, its vocabulary, ...
        """
        encoders = self.texts.encoders
        if any(e.embeddings.token_embedding.weight.shape[0] > e.config.vocab_size for e in encoders):
            raise CheckpointError(
                "a checkpoint holds no words that were taught: leave out --embedding, and LoRAs that bring words, and "
                "name them when it is used"
            )
        self.wear(None)
        parts = InTurn({part: name for name, part in self._parts.items()}, self._called)
        checkpoint = self.description.checkpoint
        place = Path(place)
        dtypes = {name: read_dtypes(checkpoint.parts[name]) if dtype == "read" else dtype for name in parts}
        if place.suffix.lower() == ENDING:
            return save_single(place, self.description, parts, dtypes)
        save_folder(place, self.description, parts, dtypes)
        return ()
