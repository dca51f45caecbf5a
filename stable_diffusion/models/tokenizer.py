"""CLIP's tokenizer: lower-cased byte-level BPE (Sennrich et al. 2016, Radford et al. 2019), always as many tokens."""

from collections.abc import Mapping, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

# Contractions, runs of letters, single digits, and runs of anything else, as in OpenAI's simple_tokenizer.py.
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


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

    @property
    def comma(self) -> int | None:
        """The id of a comma that ends a word, if the vocabulary has one."""
        return self._bpe.token_to_id(",</w>")

    def tokenize(self, text: str, prepend_bos: bool = True, append_eos: bool = True) -> list[int]:
        """All ids of a text, however many, as the older MLX example's tokenizer gives them: no padding, no cut."""
        ids = self._bpe.encode(text, add_special_tokens=False).ids
        return [self.bos] * prepend_bos + list(ids) + [self.eos] * append_eos

    def __call__(self, text: str) -> tuple[list[int], str]:
        """The text's `length` ids (start, words, end, padding), and the rest of the text that did not fit, or ""."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the text {text!r} is not valid Unicode") from None
        encoding = self._bpe.encode(text, add_special_tokens=False)
        room = self.length - 2
        ids = [self.bos, *encoding.ids[:room], self.eos]
        dropped = text[encoding.offsets[room][0] :] if len(encoding.ids) > room else ""
        return ids + [self.pad] * (self.length - len(ids)), dropped.strip()
