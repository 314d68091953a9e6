"""What the encoders have in common whose networks others have made."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from model.encoder_config import Architecture, NamedEncoder
from model.network.encoders.base import Encoder
from model.network.encoders.errors import BackboneError
from model.network.encoders.layers import freeze


def recorded(encoder: NamedEncoder) -> Architecture:
    """What the backbone is, as `resolve_encoders` found it. Raises BackboneError where it was not asked."""
    if encoder.architecture is None:
        raise BackboneError(f"{encoder.name}: its architecture is not recorded; resolve the config's encoders first")
    return encoder.architecture


class BackboneEncoder(Encoder):
    """A backbone, frozen as the config says; where the frozen part stays in evaluation mode while the rest trains."""

    def __init__(self, encoder: NamedEncoder, backbone: nn.Module) -> None:
        super().__init__()
        self.width = recorded(encoder).width
        self.backbone = backbone
        self._encoder = encoder
        self._still = freeze(backbone, self.stages(), encoder.freeze)

    @abstractmethod
    def stages(self) -> dict[str, int]:
        """Parameter of the backbone -> its stage: what the config counts when it freezes. See `number_layers`."""

    @abstractmethod
    def layers(self) -> dict[str, int]:
        """Parameter of the backbone -> its layer: what learning rates decay by. See `number_layers`."""

    @abstractmethod
    def pretrained_weights(self) -> dict[str, Tensor]:
        """The trained weights that the config names, for every parameter and buffer. Raises BackboneError."""

    def load_pretrained(self) -> None:
        """Take in the trained weights, from a folder or, through the library's cache, from the hub."""
        if not self._encoder.pretrained:
            return
        try:
            self.backbone.load_state_dict(self.pretrained_weights())
        except RuntimeError as error:
            raise BackboneError(f"{self._encoder.name}: its weights do not fit its architecture: {error}") from None

    def paces(self) -> dict[str, float]:
        """The last layer's share is the config's, and every layer before has less of it (Howard and Ruder, 2018)."""
        layers = self.layers()
        last = max(layers.values(), default=0)
        pace, decay = self._encoder.learning_rate, self._encoder.layer_decay
        return {f"backbone.{name}": pace * decay ** (last - layer) for name, layer in layers.items()}

    def train(self, mode: bool = True) -> BackboneEncoder:
        """Set the mode of what is not frozen."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def fold(self) -> None:
        """Keep batch norms in fp32 whatever the weights become: they take activations of any type, but not mixed."""
        for module in self.backbone.modules():
            if isinstance(module, _BatchNorm):
                for name, parameter in list(module.named_parameters(recurse=False)):
                    delattr(module, name)
                    module.register_buffer(name, parameter.detach())
