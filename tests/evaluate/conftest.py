"""Text that is measured on is encoded once."""

from encoded_once import _long_texts_are_encoded_once

__all__ = ["_long_texts_are_encoded_once"]
