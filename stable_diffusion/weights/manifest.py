"""What a file of ours says of a model that no other such file could: its configs and its vocabulary, in its header.

Files in LDM's names have tensors alone. Whoever reads one takes the rest from what the first models of its family had:
so many heads, so many groups of a norm, that vocabulary.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .checkpoint import TokenizerFiles, damaged
from .parts import Checkpoint
from .tensors import Header

KEY = "stable-diffusion-mlx"  # of the header's metadata


@dataclass(frozen=True)
class Manifest:
    """All of a checkpoint but its tensors."""

    configs: Mapping[str, Mapping[str, Any]]  # by the names of the parts
    scheduler: Mapping[str, Any]
    index: Mapping[str, Any]
    tokenizers: tuple[TokenizerFiles, ...]

    def as_json(self) -> str:
        return json.dumps({
            "configs": {name: dict(config) for name, config in self.configs.items()},
            "scheduler": dict(self.scheduler),
            "index": dict(self.index),
            "tokenizers": [files._asdict() for files in self.tokenizers],
        })  # fmt: skip

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Manifest":
        """What a checkpoint is besides its tensors."""
        configs = {name: part.config for name, part in checkpoint.parts.items()}
        return cls(configs, checkpoint.scheduler, checkpoint.index, tuple(one.read() for one in checkpoint.tokenizers))

    def on(self, checkpoint: Checkpoint) -> Checkpoint:
        """A checkpoint that was known by its tensors, with what is said here in the place of what was guessed."""
        parts = {name: replace(part, config=self.configs[name]) for name, part in checkpoint.parts.items()}
        tokenizers = [
            replace(tokenizer, read=partial(TokenizerFiles, *files))
            for tokenizer, files in zip(checkpoint.tokenizers, self.tokenizers, strict=True)
        ]
        return replace(
            checkpoint, parts=parts, tokenizers=tokenizers, scheduler=self.scheduler, index=self.index, predicts=""
        )


def manifest_in(header: Header) -> Manifest | None:
    """What a file of ours says; None for a file of anybody else's. Raises CheckpointError for what is damaged."""
    if KEY not in header.metadata:
        return None
    try:
        said = json.loads(header.metadata[KEY])
        tokenizers = tuple(
            TokenizerFiles(
                {str(word): int(i) for word, i in one["vocab"].items()},
                [(str(a), str(b)) for a, b in one["merges"]],
                str(one["pad_token"]),
                int(one["length"]),
                {str(word): dict(how) for word, how in one["words"].items()},
            )
            for one in said["tokenizers"]
        )
        configs = {str(name): dict(config) for name, config in said["configs"].items()}
        return Manifest(configs, dict(said["scheduler"]), dict(said["index"]), tokenizers)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise damaged(header.file, f"the description of the model under {KEY!r} is wrong") from None
