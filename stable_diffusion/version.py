"""The package's version, where a build can read it without importing MLX."""

__version__ = "0.1.0"
