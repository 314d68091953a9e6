"""Encoders made from backbones: tokens of every kind of network, padding that is never read, parts that stay frozen."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import parse_config
from model.network.encoders import Encoder, build_encoder, resolve_encoders
from model.network.encoders.feature_tokens import count_tokens, image_tokens
from tests.support.backbones import SMALL_TEXT, named_document, untrained, word_pieces
from tests.support.on_device import StaysOnDevice

VOCABULARY = 40
# Maps with their channels first and last, tokens with and without ones that stand for no place.
IMAGES = [
    ("timm", "test_convnext", 4),
    ("timm", "test_mambaout", 4),
    ("timm", "test_vit", 17),
    ("timm", "test_vit_relpos", 16),
    ("timm", "test_resnet", 4),
    ("transformers", "vit", 17),
    ("transformers", "convnext", 4),
    ("transformers", "resnet", 64),
    ("transformers", "siglip_vision_model", 16),
]


def image_encoder(library: str, name: str, **more: Any) -> Encoder:
    document = named_document({"height": 64, "width": 64, "encoder": untrained(library, name, **more)}, None)
    torch.manual_seed(0)
    return build_encoder(resolve_encoders(parse_config(document)).modalities["image"])


def text_encoder(name: str, **more: Any) -> Encoder:
    document = named_document(None, {"encoder": untrained("transformers", name, **more)})
    torch.manual_seed(0)
    return build_encoder(resolve_encoders(parse_config(document)).modalities["text"], VOCABULARY)


def pictures(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("library", "name", "count"), IMAGES)
def test_a_picture_becomes_tokens(library: str, name: str, count: int) -> None:
    encoder = image_encoder(library, name).eval()
    tokens, mask = encoder(pictures())
    assert (tokens.shape, mask) == ((2, count, encoder.width), None)
    assert float((tokens[0] - tokens[1]).detach().abs().max()) > 1e-4, "pictures must be told apart"


def test_a_map_is_read_place_by_place_wherever_its_channels_stand() -> None:
    features = torch.arange(2 * 5 * 3 * 4.0).reshape(2, 5, 3, 4)
    first = image_tokens(features, 5)
    assert first.shape == (2, 12, 5)
    assert first[1, 6].tolist() == features[1, :, 1, 2].tolist()
    assert torch.equal(image_tokens(features.permute(0, 2, 3, 1), 5), first)
    assert count_tokens(features[:1], 5) == 12
    assert [count_tokens(x, 5) for x in (features[:1], [features], torch.zeros(1, 5), None)] == [12, 0, 0, 0]


@pytest.mark.parametrize("name", SMALL_TEXT)
def test_a_text_becomes_tokens_and_padding_is_never_read(name: str) -> None:
    encoder = text_encoder(name).eval()
    long = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [9, 8, 7, 6, 5, 0, 0, 0]])
    tokens, mask = encoder(long)
    assert tokens.shape == (2, 8, encoder.width)
    assert mask.tolist() == [[True] * 8, [True] * 5 + [False] * 3]
    alone, _ = encoder(long[1:, :5])
    torch.testing.assert_close(tokens[1:, :5], alone, rtol=0, atol=1e-5)
    other, _ = encoder(torch.tensor([[9, 8, 7, 6, 4]]))
    assert float((other - alone).detach().abs().max()) > 1e-5, "words must be told apart"


def test_the_answers_are_those_of_the_library(folders: Path) -> None:
    """Trained weights arrive in their places; attention with its mask always is attention as the library does it."""
    from transformers import AutoModel

    for folder, pad in (("bert", 0), ("roberta", 1)):
        name = str(folders / folder)
        document = named_document(None, {"encoder": {"kind": "transformers", "name": name}})
        encoder = build_encoder(resolve_encoders(parse_config(document)).modalities["text"], VOCABULARY).eval()
        encoder.load_pretrained()
        theirs = AutoModel.from_pretrained(name).eval()
        ids = torch.tensor([[2, 9, 8, 7, 3], [2, 5, 3, pad, pad]])
        with torch.inference_mode():
            expected = theirs(input_ids=ids, attention_mask=(ids != pad).long()).last_hidden_state
            tokens, mask = encoder(ids)
        assert torch.equal(mask, ids != pad)
        torch.testing.assert_close(tokens[mask], expected[mask], rtol=0, atol=1e-6)


def test_pictures_from_a_folder_are_read_as_the_library_reads_them(folders: Path) -> None:
    from transformers import AutoModel

    name = str(folders / "vit")
    document = named_document({"encoder": {"kind": "transformers", "name": name}}, None)
    image = resolve_encoders(parse_config(document)).modalities["image"]
    encoder = build_encoder(image).eval()
    encoder.load_pretrained()
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    prepared = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(image.mean)[:, None, None]) / 0.5
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(name).eval()(pixel_values=prepared).last_hidden_state
        tokens, _ = encoder(pixels)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


def test_each_half_of_a_network_of_pictures_and_texts_is_a_backbone(tmp_path: Path) -> None:
    from transformers import AutoModel, CLIPConfig

    tokenizer = word_pieces()
    half = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = half | {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2}
    theirs = AutoModel.from_config(
        CLIPConfig(text_config=text, vision_config=half | {"image_size": 32, "patch_size": 8})
    )
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = {"kind": "transformers", "name": str(tmp_path)}
    config = resolve_encoders(parse_config(named_document({"encoder": encoder}, {"encoder": encoder})))
    for modality, inputs in zip(
        config.modalities.values(), (pictures()[:, :32, :32], torch.tensor([[2, 7, 8, 3]])), strict=True
    ):
        ours = build_encoder(modality, 150).eval()
        ours.load_pretrained()
        half_of_theirs = theirs.eval().vision_model if modality.kind == "image" else theirs.eval().text_model
        if modality.kind == "image":
            expected = half_of_theirs(pixel_values=ours.normalise(inputs, torch.float32)).last_hidden_state
        else:
            expected = half_of_theirs(input_ids=inputs).last_hidden_state
        torch.testing.assert_close(ours(inputs)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_picture_is_read_as_timm_reads_it(folders: Path) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config
    from timm.data.transforms import MaybeToTensor

    name = str(folders / "convnext")
    document = named_document({"encoder": {"kind": "timm", "name": name}}, None)
    encoder = build_encoder(resolve_encoders(parse_config(document)).modalities["image"]).eval()
    encoder.load_pretrained()
    theirs = timm.create_model(f"local-dir:{name}", pretrained=True, num_classes=0).eval()
    # Their normalisation, without their resize and crop.
    steps = create_transform(**resolve_model_data_config(theirs), is_training=False).transforms
    normalise = next(step for step in steps if type(step).__name__ == "Normalize")
    pixels = torch.randint(0, 256, (160, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        prepared = normalise(MaybeToTensor()(pixels.permute(2, 0, 1)).float() / 255)
        expected = theirs.forward_features(prepared[None]).flatten(2).transpose(1, 2)
        tokens, _ = encoder(pixels[None])
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


def moved(encoder: Encoder, inputs: Tensor) -> set[str]:
    """Names of the parameters and buffers that a step of training changes."""
    with torch.no_grad():
        for parameter in encoder.parameters():  # some start at zero, behind which nothing moves
            parameter.add_(0.1 * torch.randn_like(parameter))
    before = copy.deepcopy(encoder.state_dict())
    encoder.train()
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    tokens, _ = encoder(inputs)
    if trained:
        (tokens.square().sum() + tokens.sum()).backward()
        torch.optim.SGD(trained, lr=0.1).step()
    after = encoder.state_dict()
    return {name for name, values in before.items() if not torch.equal(values, after[name])}


def test_an_encoder_that_is_not_frozen_moves_as_a_whole() -> None:
    encoder = image_encoder("timm", "test_resnet")
    assert moved(encoder, pictures(4)) == set(encoder.state_dict())


def test_a_frozen_encoder_keeps_its_weights_and_its_statistics() -> None:
    encoder = image_encoder("timm", "test_resnet", freeze="all")
    assert moved(encoder, pictures(4)) == set()
    assert not encoder.train()(pictures())[0].requires_grad, "no graph is kept for it"


def test_the_first_stages_stay_while_the_last_train() -> None:
    changed = moved(image_encoder("timm", "test_resnet", freeze=2), pictures(4))
    stages = {name.split(".")[1] for name in changed}
    assert stages == {"layer3", "layer4"}


@pytest.mark.parametrize(("count", "kept"), [(1, {"embeddings", "0"}), (2, {"embeddings", "0", "1"})])
def test_the_first_layers_of_a_text_stay(count: int, kept: set[str]) -> None:
    encoder = text_encoder("bert", freeze=count)
    changed = moved(encoder, torch.tensor([[5, 6, 7, 8]]))
    # A key's bias adds the same to every score of a query, which the softmax takes away again.
    frozen = {name for name in encoder.state_dict() if not name.endswith("key.bias")} - changed
    parts = {name.removeprefix("backbone.").removeprefix("encoder.layer.").split(".")[0] for name in frozen}
    assert parts == kept


def test_what_is_frozen_drops_nothing_out() -> None:
    encoder = text_encoder("bert", freeze="all").train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(encoder(ids)[0], encoder(ids)[0])
    encoder = text_encoder("bert").train()
    assert not torch.equal(encoder(ids)[0], encoder(ids)[0])


def test_rates_fall_from_the_answers_to_the_input() -> None:
    paces = text_encoder("bert", learning_rate=0.5, layer_decay=0.1).paces()
    of = {layer: paces[f"backbone.encoder.layer.{layer}.output.dense.weight"] for layer in range(3)}
    assert of == pytest.approx({2: 0.5, 1: 0.05, 0: 0.005})
    assert paces["backbone.embeddings.word_embeddings.weight"] == pytest.approx(0.0005)
    paces = image_encoder("timm", "test_vit", layer_decay=0.5).paces()
    assert paces["backbone.norm.weight"] == paces["backbone.blocks.5.mlp.fc1.weight"] == 1.0
    assert paces["backbone.patch_embed.proj.weight"] == paces["backbone.pos_embed"] == pytest.approx(0.5**6)


def test_a_folded_encoder_answers_in_bf16() -> None:
    encoder = image_encoder("timm", "test_resnet").eval()
    with torch.inference_mode():
        expected, _ = encoder(pictures())
        encoder.fold()
        torch.testing.assert_close(encoder(pictures())[0], expected)
        for parameter in encoder.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        rounded, _ = encoder(pictures())
    assert rounded.dtype == torch.bfloat16
    assert float((rounded.float() - expected).abs().mean()) < 0.05 * float(expected.abs().mean())


@pytest.mark.parametrize(
    ("image", "text"), [("test_convnext", "bert"), ("test_vit", "modernbert"), ("test_resnet", "t5")]
)
def test_no_operation_depends_on_the_values_or_on_the_host(image: str, text: str) -> None:
    """So that what was captured on a device for a batch's shape answers every batch of that shape."""
    inputs = [torch.zeros(3, 64, 64, 3, dtype=torch.uint8), torch.ones(3, 12, dtype=torch.int64)]
    for encoder, values in zip((image_encoder("timm", image), text_encoder(text)), inputs, strict=True):
        there, values = encoder.eval().to("meta"), values.to("meta")
        with torch.inference_mode(), StaysOnDevice([*there.parameters(), *there.buffers(), values]):
            there(values)


def test_an_architecture_that_was_not_resolved_is_not_guessed() -> None:
    config = parse_config(named_document({"encoder": untrained("timm", "test_convnext")}, None))
    with pytest.raises(ValueError, match="resolve"):
        build_encoder(config.modalities["image"])
