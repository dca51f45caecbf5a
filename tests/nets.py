"""Our nets on the inputs that come with reference outputs."""

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from stable_diffusion import StableDiffusion

Arrays = Mapping[str, np.ndarray]


def our_outputs(sd: StableDiffusion, given: Arrays) -> dict[str, np.ndarray]:
    """What our nets make of the `in_...` arrays and the token ids of reference outputs."""
    inputs = {name.removeprefix("in_"): mx.array(value) for name, value in given.items() if name.startswith("in_")}
    picture, latents = inputs.pop("picture"), inputs.pop("latents")
    dtype = sd.dtype
    out = {
        "unet": sd.unet(**{name: value if name == "t" else value.astype(dtype) for name, value in inputs.items()}),
        "encoded": sd.encode(picture),
        "decoded": sd.autoencoder.decode(latents),
    }
    for number, name in enumerate(sd._encoders, start=1):
        output = getattr(sd, name)(mx.array(given[f"ids{number}"]))
        out[f"last{number}"] = output.last_hidden_state
        out[f"penultimate{number}"] = output.hidden_states[-2]
        out[f"pooled{number}"] = output.pooled
    return {name: np.array(value.astype(mx.float32)) for name, value in out.items()}


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest elementwise difference over the largest magnitude."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
