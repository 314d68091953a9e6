"""The image CNN: a small residual network for catalogue-size pictures."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.config import ImageModality
from model.encoder_config import ConvEncoder
from model.network.encoders.base import Encoder
from model.network.encoders.pixels import Normalise


class ConvImageEncoder(Encoder):
    """Pixels uint8 [B, H, W, 3] -> tokens [B, h·w, width], one a cell of the last feature map.

    Basic blocks after He et al., "Deep Residual Learning", 2016, with the average-pooled shortcut of He et al.,
    "Bag of Tricks", 2019.
    """

    def __init__(self, modality: ImageModality, encoder: ConvEncoder) -> None:
        super().__init__()
        self.width = encoder.widths[-1]
        self.normalise = Normalise(modality)
        kernel = 7 if encoder.stem_stride == 4 else 3
        self.stem = nn.Sequential(
            nn.Conv2d(3, encoder.widths[0], kernel, encoder.stem_stride, kernel // 2, bias=False),
            nn.BatchNorm2d(encoder.widths[0]),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        channels = encoder.widths[0]
        for stage, (width, depth) in enumerate(zip(encoder.widths, encoder.depths, strict=True)):
            for block in range(depth):
                blocks.append(_Residual(channels, width, stride=2 if stage and not block else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(encoder.dropout)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode pixels; every cell of the map is a real token, so there is no mask."""
        x = self.normalise(inputs, next(self.parameters()).dtype)
        x = self.blocks(self.stem(x))  # (B, C, h, w)
        return self.dropout(x.flatten(2).transpose(1, 2)), None

    def fold(self) -> None:
        """Merge each batch norm into the convolution before it: one pass over the feature maps less a layer."""
        for module in self.modules():
            # In the stem, the blocks and their shortcuts, a norm is registered right behind its convolution.
            children = list(module.named_children())
            for (name, convolution), (behind, norm) in pairwise(children):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                    setattr(module, behind, nn.Identity())


class _Residual(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        # A block that starts as the identity trains faster at high learning rates.
        nn.init.zeros_(self.norm2.weight)
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
        if channels != width:
            shortcut += [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
