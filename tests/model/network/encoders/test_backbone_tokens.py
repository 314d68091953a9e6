"""A backbone's tokens in this project are, id by id, those of its own tokenizer in transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from model.config import TextModality, parse_config
from model.network.encoders import backbone_tokenizer, resolve_encoders
from model.preprocess import TextTokenizer, normalise_text
from tests.support.backbones import byte_pairs, named_document, save_text

FOLDERS = ["bert", "roberta"]
TEXTS = [
    "red shirt",
    "Navy-blue DRESS, 100% cotton!",
    "déjà vu  with   spaces",
    "x" * 200,
    "shoe " * 40,
    "日本語 текст 👟",
    "a",
]


def modality_of(folder: Path, max_tokens: int = 12) -> TextModality:
    text = {"max_tokens": max_tokens, "encoder": {"kind": "transformers", "name": str(folder)}}
    modality = resolve_encoders(parse_config(named_document(None, text))).modalities["text"]
    assert isinstance(modality, TextModality)
    return modality


def saved(tokenizer: TextTokenizer, folder: Path, modality: TextModality) -> TextTokenizer:
    """As a bundle has it."""
    tokenizer.save(folder / "tokenizer.json")
    return TextTokenizer.load(folder / "tokenizer.json", modality)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("max_tokens", [4, 12, 32])
def test_tokens_are_those_of_the_backbone(folders: Path, tmp_path: Path, folder: str, max_tokens: int) -> None:
    modality = modality_of(folders / folder, max_tokens)
    ours = saved(backbone_tokenizer(modality), tmp_path, modality)
    theirs = AutoTokenizer.from_pretrained(folders / folder)
    for text in TEXTS:
        tokens = ours(text)
        folded = normalise_text(text)
        assert tokens.ids.tolist() == theirs(folded, truncation=True, max_length=max_tokens).input_ids, text
        assert tokens.truncated == (len(theirs(folded).input_ids) > max_tokens), text
    assert ours.vocab_size == len(theirs)


@pytest.mark.parametrize("folder", FOLDERS)
def test_whatever_the_text(folders: Path, folder: str) -> None:
    modality = modality_of(folders / folder)
    ours, theirs = backbone_tokenizer(modality), AutoTokenizer.from_pretrained(folders / folder)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.text(max_size=60).map(normalise_text).filter(bool))
    def same(text: str) -> None:
        expected = theirs(text, truncation=True, max_length=12, split_special_tokens=True).input_ids
        assert ours(text).ids.tolist() == expected

    same()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_text_that_spells_padding_is_not_padding(folders: Path, folder: str) -> None:
    modality = modality_of(folders / folder)
    ids = backbone_tokenizer(modality)("[PAD] <pad> </s> [SEP]").ids
    assert modality.pad_id not in ids
    assert len(ids) == 12


def test_a_tokenizer_without_padding_gets_a_number_that_is_no_token(tmp_path: Path) -> None:
    save_text(tmp_path / "gpt", "gpt2", byte_pairs(pad=None))
    modality = modality_of(tmp_path / "gpt")
    assert modality.pad_id == len(AutoTokenizer.from_pretrained(tmp_path / "gpt"))
    assert max(backbone_tokenizer(modality)("a red shirt").ids) < modality.pad_id
