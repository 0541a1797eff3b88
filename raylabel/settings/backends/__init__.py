"""The backends' blocks in ``vlm``: what a user can set of each, one file a backend.

The rest of a backend is the class of the same name in ``raylabel.clients``, which is made from its block. The two are
apart because everything reads settings, ``--help`` and the steps included, and must not load a client or the network
for that.
"""

from typing import ClassVar

from raylabel.blocks import Block


class BackendSettings(Block):
    """What a backend needs to know; the blocks of ``VlmSettings`` that derive from this one are its backends."""

    takes_files: ClassVar[bool] = False
    """Whether requests can name the file of a picture, for a server that reads it."""

    def check_needs(self, where: str, names_a_model: bool) -> None:
        """Refuse to run without what this backend needs.

        Args:
            where: the block's path, for messages.
            names_a_model: every step of the run names a model of its own.

        Raises:
            ConfigError: what is missing.
        """
