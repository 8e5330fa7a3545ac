"""A model folder is checked before anything is loaded from it."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cai.engine.files import context_length, find_model, under_adapter
from cai.errors import InputError


@pytest.fixture
def folder(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))


def refused(folder: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        find_model(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_folder_with_only_pickled_weights_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(tmp_path / "ran")))
    assert "pickled weights (pytorch_model.bin)" in refused(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_its_own_code_is_refused(folder: Path, file: str, tmp_path: Path) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, "auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "auto_map" in refused(folder)
    assert not (tmp_path / "ran").exists()


def test_a_model_without_a_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert "has no chat template" in refused(folder)


def test_a_template_in_the_tokenizers_settings_is_found(folder: Path) -> None:
    text = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": text}))
    assert find_model(str(folder)).chat_template == text
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": text}]
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": named}))
    assert find_model(str(folder)).chat_template == text


def test_what_is_no_model_folder_is_one_line(tmp_path: Path) -> None:
    assert "has no config.json" in refused(tmp_path)
    assert "no model folder" in refused(tmp_path / "missing" / "deep" / "down")
    assert "no model folder" in refused("somebody/no-such-model")
    (tmp_path / "config.json").write_text("{")
    assert "not JSON" in refused(tmp_path)


def test_the_fingerprint_follows_weights_template_and_settings_but_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = find_model(str(folder)).fingerprint
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert find_model(str(moved)).fingerprint == before
    seen = {before}
    for file in ("model.safetensors", "chat_template.jinja", "generation_config.json", "tokenizer.json"):
        content = bytearray((moved / file).read_bytes())
        content[-2] ^= 1
        (moved / file).write_bytes(content)
        try:
            seen.add(find_model(str(moved)).fingerprint)
        finally:
            content[-2] ^= 1
            (moved / file).write_bytes(content)
    assert len(seen) == 5


def test_a_model_under_an_adapter_is_another_one_by_the_adapters_content(tmp_path: Path) -> None:
    names = ("adapter_config.json", "adapter_model.safetensors")
    for place, content in (("a", b"1"), ("copy", b"1"), ("b", b"2")):
        (tmp_path / place).mkdir()
        for name in names:
            (tmp_path / place / name).write_bytes(content)
    a, copy, b = (under_adapter("base", str(tmp_path / place)) for place in ("a", "copy", "b"))
    assert under_adapter("base", "") == "base"
    assert a == copy
    assert len({"base", a, b, under_adapter("other", str(tmp_path / "a"))}) == 4
    (tmp_path / "b" / names[1]).unlink()
    with pytest.raises(InputError, match=r"b is not a LoRA adapter; give a folder with an adapter_model\.safetensors"):
        under_adapter("base", str(tmp_path / "b"))


def test_the_context_is_at_most_what_the_model_states() -> None:
    config = {"max_position_embeddings": 512}
    assert context_length(config, None, "m") == 512
    assert context_length(config, 128, "m") == 128
    with pytest.raises(InputError, match="at most 512"):
        context_length(config, 1024, "m")


def test_a_context_that_would_depend_on_the_batch_ends_before_it() -> None:
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 64}
    assert context_length({"max_position_embeddings": 4096, "rope_parameters": rope}, None, "m") == 64
