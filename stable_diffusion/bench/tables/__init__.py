"""The pages whose tables stand in the README. They come with a checkout, and not with an installed package."""

from .pages import PAGES, add_pages

__all__ = ["PAGES", "add_pages"]
