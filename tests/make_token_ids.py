"""Make tests/data/token_ids.json: what transformers' CLIPTokenizer makes of tests/texts.py.

pip install -e ".[peers]" && python tests/make_token_ids.py
"""

import json
import sys
from pathlib import Path

from transformers import CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from stable_diffusion.weights.vocabulary import openai_tokenizer
from tests.texts import TEXTS


def main() -> None:
    vocab, merges, pad = openai_tokenizer()
    tokenizer = CLIPTokenizer(vocab=dict(vocab), merges=merges, pad_token=pad, model_max_length=77)
    ids = [tokenizer(text, truncation=True, max_length=77).input_ids for text in TEXTS]
    (Path(__file__).parent / "data" / "token_ids.json").write_text(json.dumps(ids) + "\n")


if __name__ == "__main__":
    main()
