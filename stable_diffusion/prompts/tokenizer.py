"""CLIP's tokenizer: lower-cased byte-level BPE (Sennrich et al. 2016, Radford et al. 2019), always as many tokens."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

# Contractions, runs of letters, single digits, and runs of anything else, as in OpenAI's simple_tokenizer.py.
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

_EDGE = (r"(?<!\w)", r"(?!\w)")  # of a word that was taught


class CLIPTokenizer:
    """Text to ids, equal to transformers' CLIPTokenizer for any text."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        pad_token: str = "<|endoftext|>",
        length: int = 77,
        words: Mapping[str, Mapping[str, bool]] | None = None,
    ) -> None:
        """vocab: token to id; merges: best first; pad_token: the checkpoint's own ("!" in SD 2.x).

        words: those of the vocabulary that are never split into pieces, as textual inversion adds them, with the flags
        of `tokenizers.AddedToken`; without any, a word is found in the lower-cased text.
        """
        start, end = "<|startoftext|>", "<|endoftext|>"
        for token in (start, end, pad_token):
            if token not in vocab:
                raise ValueError(f"the tokenizer's vocabulary has no {token!r}")
        self.bos, self.eos, self.pad = vocab[start], vocab[end], vocab[pad_token]
        self.length = length
        self._bpe = Tokenizer(
            BPE(dict(vocab), list(merges), end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=end)
        )
        self._bpe.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self._bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        self._bpe.add_special_tokens(
            [AddedToken(token, special=True) for token in dict.fromkeys((start, end, pad_token))]
        )
        self._bpe.add_tokens(
            [AddedToken(word, **{"normalized": True, **flags}) for word, flags in (words or {}).items()]
        )

        self._taught: dict[str, list[int]] = {}
        self._words: re.Pattern[str] | None = None

    def teach(self, words: Mapping[str, Sequence[int]]) -> None:
        """Words that stand for ids of their own, one or several each; found in any case, and not inside of words."""
        self._taught |= {word.lower(): list(ids) for word, ids in words.items()}
        spelled = sorted(self._taught, key=len, reverse=True)
        patterns = (
            rf"{_EDGE[0] if w[0].isalnum() else ''}{re.escape(w)}{_EDGE[1] if w[-1].isalnum() else ''}" for w in spelled
        )
        self._words = re.compile("|".join(patterns), re.IGNORECASE)

    def taught(self, word: str) -> list[int]:
        """The ids of a word that was taught. Raises ValueError, which names those that were."""
        known = self._taught.get(word.lower())
        if known is None:
            near = get_close_matches(word.lower(), self._taught, n=3, cutoff=0.5) or list(self._taught)[:5]
            there = f"those that were named are {', '.join(near)}" if near else "none was named"
            raise ValueError(f"the prompt names the embedding {word!r}, and {there}: --embedding PATH:{word} names it")
        return known

    def _encoded(self, text: str) -> Iterator[tuple[list[int], int]]:
        """The ids of a text, those of a taught word together, with the place in the text where each begins."""
        at = 0
        for found in self._words.finditer(text) if self._words else ():
            yield from self._pieces(text[at : found.start()], at)
            yield self._taught[found[0].lower()], found.start()
            at = found.end()
        yield from self._pieces(text[at:], at)

    def _pieces(self, text: str, at: int) -> Iterator[tuple[list[int], int]]:
        encoding = self._bpe.encode(text, add_special_tokens=False)
        yield from (([i], at + begin) for i, (begin, _) in zip(encoding.ids, encoding.offsets, strict=True))

    def units(self, text: str) -> list[list[int]]:
        """The ids of a text one by one, but those of a taught word together."""
        return [ids for ids, _ in self._encoded(text)]

    @property
    def comma(self) -> int | None:
        """The id of a comma that ends a word, if the vocabulary has one."""
        return self._bpe.token_to_id(",</w>")

    def tokenize(self, text: str, prepend_bos: bool = True, append_eos: bool = True) -> list[int]:
        """All ids of a text, however many, as the older MLX example's tokenizer gives them: no padding, no cut."""
        return [self.bos] * prepend_bos + [i for ids in self.units(text) for i in ids] + [self.eos] * append_eos

    def __call__(self, text: str) -> tuple[list[int], str]:
        """The text's `length` ids (start, words, end, padding), and the rest of the text that did not fit, or ""."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the text {text!r} is not valid Unicode") from None
        found = [(i, place) for ids, place in self._encoded(text) for i in ids]
        room = self.length - 2
        ids = [self.bos, *(i for i, _ in found[:room]), self.eos]
        dropped = text[found[room][1] :] if len(found) > room else ""
        return ids + [self.pad] * (self.length - len(ids)), dropped.strip()
