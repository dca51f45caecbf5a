"""Make tests/data: a tiny checkpoint of each family, and what torch's nets make of it.

    pip install -e ".[peers]" && python tests/make_references.py

It needs torch, diffusers and transformers; the tests that read tests/data do not.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from families import FAMILIES
from outputs import torch_outputs

DATA = Path(__file__).parent / "data"


def main() -> None:
    for name, family in FAMILIES.items():
        folder = DATA / name
        shutil.rmtree(folder, ignore_errors=True)
        family(folder)
        with torch.no_grad():
            outputs = torch_outputs(folder)
        np.savez_compressed(folder / "outputs.npz", **outputs)
        print(name, {key: value.shape for key, value in outputs.items()})


if __name__ == "__main__":
    main()
