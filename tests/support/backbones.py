"""Backbones with random weights in folders, as the libraries write them: what a download would leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tests.support.tiny import WORDS, tiny_document

TEXTS = [" ".join(WORDS), "a red shirt for men", "blue dresses, 100% cotton!", "winter-sport shoes"]


def save_timm(folder: Path, name: str = "test_convnext", **arguments: Any) -> Path:
    """An image backbone of timm in a folder."""
    from model.network.encoders.timm_library import build

    torch.manual_seed(1)
    backbone = build({"model": name, "arguments": arguments})
    from timm.models import save_for_hf

    save_for_hf(backbone, str(folder), model_args=arguments or None, safe_serialization=True)
    return folder


def word_pieces() -> Any:
    """A tokenizer as BERT's: lower case, without accents, [CLS] before and [SEP] behind."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXTS * 3, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special))
    ends = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
    )


def byte_pairs(pad: str | None = "<pad>") -> Any:
    """A tokenizer as RoBERTa's: bytes, <s> as token 0 and padding, if there is any, as token 1."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", *([pad] if pad else []), "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    ends = [("<s>", 0), ("</s>", tokenizer.token_to_id("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token="<s>", eos_token="</s>", model_max_length=32
    )


SMALL_BERT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
SMALL_TEXT: dict[str, dict[str, Any]] = {
    "bert": SMALL_BERT,
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32},
    # Windows of 4 tokens, so that texts are longer than one.
    "modernbert": SMALL_BERT
    | {
        "num_hidden_layers": 3,
        "local_attention": 4,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    "roberta": SMALL_BERT | {"pad_token_id": 1, "max_position_embeddings": 34},
    "deberta-v2": SMALL_BERT,
    "t5": {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32, "d_kv": 8},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}
SMALL_VISION: dict[str, dict[str, Any]] = {
    "vit": SMALL_BERT | {"image_size": 32},
    "convnext": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 2, 1]},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "siglip_vision_model": SMALL_BERT | {"image_size": 32},
}


def save_text(folder: Path, kind: str = "bert", tokenizer: Any = None) -> Path:
    """A text backbone of transformers and its tokenizer in a folder."""
    from transformers import AutoConfig, AutoModel

    tokenizer = tokenizer or word_pieces()
    size = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(2)
    AutoModel.from_config(AutoConfig.for_model(kind, **SMALL_TEXT[kind] | size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_vision(folder: Path, kind: str = "vit", **processor: Any) -> Path:
    """An image backbone of transformers in a folder, with a file that says how its pictures were prepared."""
    import json

    from transformers import AutoConfig, AutoModel

    torch.manual_seed(3)
    AutoModel.from_config(AutoConfig.for_model(kind, **SMALL_VISION[kind])).save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def named_document(image: dict[str, Any] | None, text: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """`tiny_document` with backbones: what is to be known of the picture's and of the text's modality."""
    document = tiny_document(**changes)
    modalities = document["modalities"]
    if image is not None:
        modalities["image"] = {"kind": "image", **image}
    if text is not None:
        modalities["text"] = {"kind": "text", "columns": ["title"], "max_tokens": 12, **text}
    return document


def untrained(library: str, name: str, **more: Any) -> dict[str, Any]:
    """The encoder of a config with random weights, which is looked up nowhere."""
    kind = {"type": name} if library == "transformers" else {}
    small = SMALL_TEXT.get(name) or SMALL_VISION.get(name) if library == "transformers" else None
    return {
        "kind": library,
        "name": name,
        "pretrained": False,
        **kind,
        **({"arguments": small} if small else {}),
        **more,
    }
