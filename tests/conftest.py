"""The package goes first, because it decides what MLX runs on before MLX is imported."""

import stable_diffusion  # noqa: F401
