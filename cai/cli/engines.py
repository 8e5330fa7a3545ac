"""Picks the engine that a command's settings name. Nothing heavy is imported before it is picked."""

from __future__ import annotations

from pathlib import Path

import typer

from cai.config.engine import EngineSettings
from cai.engine.protocol import Engine


def open_engine(spec: EngineSettings) -> Engine:
    """The engine for `spec`, its files checked before anything is loaded. Raises `InputError` for a wrong spec."""
    if spec.kind == "openai":
        from cai.engine.openai import open_openai

        return open_openai(spec, announce=_announce)
    if spec.kind == "vllm":
        from cai.engine.vllm_engine import open_vllm

        return open_vllm(spec, _folder(spec.model))
    from cai.engine.transformers import open_transformers

    return open_transformers(spec, _folder(spec.model), announce=_announce)


def check_engine(spec: EngineSettings) -> None:
    """Check a local model's files without loading it, so that no model loads when another one is wrong."""
    if spec.kind != "openai":
        from cai.engine.files import find_model

        find_model(_folder(spec.model), spec.revision)


def _folder(model: str) -> str:
    """The built-in model's folder for "tiny", any other name as it is."""
    if model != "tiny" or Path(model).is_dir():
        return model
    from cai.testbed import TINY

    return str(TINY)


def _announce(line: str) -> None:
    typer.echo(line, err=True)
