"""A model's folder before anything is loaded from it: where it is, whether we may and can use it, what identifies it.

Only safetensors are read and no code from a checkpoint is ever run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cai.errors import InputError, Where
from cai.seeds import content_id

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
READ_PATTERNS = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]
SAMPLED_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A checked model folder; `name` is what the user wrote."""

    name: str
    folder: Path
    config: dict[str, Any]
    chat_template: str
    fingerprint: str


def find_model(name: str, revision: str = "") -> ModelFiles:
    """The folder `name`, or the hub model of that name, checked. Raises InputError with what to do.

    Small files are fetched and checked before any weights are.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetch(name, revision, [pattern for pattern in READ_PATTERNS if pattern != "*.safetensors"])
        _check_settings(name, folder)
        folder = _fetch(name, revision, READ_PATTERNS)
    config, template = _check_settings(name, folder)
    weights = _check_weights(name, folder)
    return ModelFiles(name, folder, config, template, _fingerprint(folder, template, weights))


def find_template(name: str, revision: str = "") -> Path:
    """The folder of a tokenizer with a chat template; weights are neither needed nor fetched."""
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetch(name, revision, [pattern for pattern in READ_PATTERNS if pattern != "*.safetensors"])
    _check_settings(name, folder)
    return folder


def under_adapter(fingerprint: str, adapter: str) -> str:
    """The fingerprint of a model under the LoRA adapter in a folder; without one, its own. Raises InputError."""
    if not adapter:
        return fingerprint
    folder = Path(adapter)
    settings, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    for file in (settings, weights):
        if not file.is_file():
            raise InputError(f"{adapter} is not a LoRA adapter", f"give a folder with an {file.name}")
    return content_id(fingerprint, hashlib.sha256(settings.read_bytes()).hexdigest(), _sampled_sha(weights))


def context_length(config: dict[str, Any], asked: int | None, name: str) -> int | None:
    """Tokens of context: what was asked, at most what the model states; None where neither tells."""
    text = config.get("text_config") or config
    stated = text.get("max_position_embeddings")
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) in ("dynamic", "longrope"):
        # These change every position's angle once any row of a batch is long: results would depend on the batch.
        stated = rope.get("original_max_position_embeddings") or text.get("original_max_position_embeddings") or stated
    if asked is not None and stated is not None and asked > stated:
        raise InputError(
            f"the model {name} has a context of {stated} tokens, {asked} were asked for",
            f"set engine.context_length to at most {stated}",
        )
    return asked or stated


def _check_settings(name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """The model's configuration and chat template. Raises InputError where either cannot be used."""
    config = _read_json(folder / "config.json", name)
    tokenizer = _read_json(folder / "tokenizer_config.json", name)
    for file, content in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        if "auto_map" in content:
            raise InputError(
                f"the model {name} asks to run its own code (auto_map)",
                "code from a checkpoint is never run; use a model that transformers supports itself",
                Where(folder / file),
            )
    template = _chat_template(folder, tokenizer)
    if template is None:
        raise InputError(
            f"the model {name} has no chat template",
            "use an instruction-tuned model, or put a chat_template.jinja into its folder",
            Where(folder),
        )
    return config, template


def _chat_template(folder: Path, tokenizer: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template: Any = tokenizer.get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in cast(list[dict[str, str]], template)}
        template = named.get("default")
    return template if isinstance(template, str) and template else None


def _check_weights(name: str, folder: Path) -> list[Path]:
    weights = sorted(folder.glob("*.safetensors"))
    if weights:
        return weights
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
    if pickled:
        raise InputError(
            f"the model {name} has only pickled weights ({pickled[0]}), which can run code when they are read",
            "convert them to safetensors, for instance with save_pretrained in a sandbox",
            Where(folder),
        )
    raise InputError(f"the model {name} has no weights", "a *.safetensors file is needed", Where(folder))


def _read_json(file: Path, name: str) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"the model {name} has no {file.name}", "is this the right folder?", Where(file.parent))
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"this is not JSON: {error}", "get the model's files again", Where(file)) from error
    if not isinstance(content, dict):
        raise InputError("a JSON object was expected here", "get the model's files again", Where(file))
    return cast(dict[str, Any], content)


def _fetch(name: str, revision: str, patterns: list[str]) -> Path:
    """The local copy of a hub model, downloaded where it is missing and the hub may be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except HFValidationError as error:
        raise InputError(f"there is no model folder {name}", "give a folder or a hub name like owner/model") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"there is no model folder {name}, and the hub did not give a model of that name ({reason})",
            "check the name, or download the model and give its folder",
        ) from error


def _fingerprint(folder: Path, template: str, weights: list[Path]) -> str:
    """One hash of settings, tokenizer, template and weights.

    Small weights are read whole; of large ones the header, the size and a sample every 1/64 of the file, which tells
    any two trained checkpoints apart without reading them twice.
    """
    parts: list[object] = [template]
    for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model"):
        path = folder / file
        parts.append(hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
    for file in weights:
        parts.append([file.name, _sampled_sha(file)])
    return content_id("model", parts)


def _sampled_sha(file: Path) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as handle:
        if size <= 128 * SAMPLED_BYTES * 4:
            digest.update(handle.read())
        else:
            header = int.from_bytes(handle.read(8), "little")
            digest.update(handle.read(min(header, size)))
            for part in range(64):
                handle.seek(size * part // 64)
                digest.update(handle.read(SAMPLED_BYTES))
            handle.seek(size - SAMPLED_BYTES)
            digest.update(handle.read())
    return digest.hexdigest()
