"""What every encoder is."""

from __future__ import annotations

from torch import Tensor, nn


class Encoder(nn.Module):
    """Turns one modality's padded input into tokens of `width` channels."""

    width: int

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode a batch.

        Returns the tokens [B, N, width] and a mask bool [B, N] that is True at real tokens, or None where all are.
        """
        raise NotImplementedError

    def readable(self, inputs: Tensor, here: Tensor) -> Tensor:
        """`inputs`, but with values that `forward` takes in the rows where `here`, bool [B], is False.

        Any value will do for an encoder that says nothing else.
        """
        return inputs

    def fold(self) -> None:
        """Merge what is constant in evaluation into the weights, in place; the answers stay, training does not."""

    def load_pretrained(self) -> None:
        """Take in the weights that training is to start from, where the config names some; may download them."""

    def paces(self) -> dict[str, float]:
        """Parameter -> its share of the learning rate, for those that have another than the whole."""
        return {}
