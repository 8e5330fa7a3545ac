"""Picks the engine that a command's settings name. Nothing heavy is imported before it is picked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from cai.config.engine import EngineSettings
from cai.engine.protocol import Engine, TrainableEngine
from cai.errors import InputError, Where


def open_engine(spec: EngineSettings) -> Engine:
    """The engine for `spec`, its files checked before anything is loaded. Raises `InputError` for a wrong spec."""
    if spec.kind == "openai":
        from cai.engine.openai import open_openai

        return open_openai(spec, announce=_announce)
    if spec.kind == "ray":
        from cai.engine.ray_engine import open_ray

        return open_ray(spec, model_folder(spec.model), open_trainable, announce=_announce)
    return open_trainable(spec)


def open_engines(specs: Iterable[EngineSettings]) -> dict[str, Engine]:
    """Each different engine once, by its settings as JSON.

    Those of kind vllm that differ in nothing but the adapter share one model in memory, one batch and one cache.
    """
    wanted = {spec.model_dump_json(): spec for spec in specs}
    families: dict[str, list[EngineSettings]] = {}
    for spec in wanted.values():
        families.setdefault(spec.model_copy(update={"adapter": ""}).model_dump_json(), []).append(spec)
    opened: dict[str, Engine] = {}
    for family in families.values():
        if family[0].kind == "vllm" and len(family) > 1:
            opened |= _open_family(family)
        else:
            opened |= {spec.model_dump_json(): open_engine(spec) for spec in family}
    return opened


def _open_family(family: list[EngineSettings]) -> dict[str, Engine]:
    """One vLLM engine under each of several adapters, and perhaps under none."""
    from cai.engine.vllm_engine import open_vllm

    own = family[0].vllm
    loras = max(own.max_loras, sum(bool(spec.adapter) for spec in family))
    vllm = own.model_copy(update={"max_loras": loras})
    base = family[0].model_copy(update={"adapter": "", "vllm": vllm})
    engine = open_vllm(base, model_folder(base.model))
    return {spec.model_dump_json(): engine.adapted(spec.adapter) if spec.adapter else engine for spec in family}


def open_trainable(spec: EngineSettings) -> TrainableEngine:
    """The local engine of a kind that is one; an actor of a pool opens its own by this too."""
    if spec.kind == "vllm":
        from cai.engine.vllm_engine import open_vllm

        return open_vllm(spec, model_folder(spec.model))
    from cai.engine.transformers import open_transformers

    return open_transformers(spec, model_folder(spec.model), announce=_announce)


def check_engine(spec: EngineSettings) -> None:
    """Check all that can be checked without loading a model, so that none loads when another one is wrong."""
    if not spec.model:
        raise InputError("the model's name is empty", "give a folder, a hub name or `tiny`", Where("engine.model"))
    if spec.kind == "openai":
        from cai.engine.openai import check_server

        check_server(spec.openai)
        return
    from cai.engine.files import find_model, find_template, under_adapter

    under_adapter("", spec.adapter)
    if spec.kind == "ray":
        from cai.engine.ray_engine import check_installed

        check_installed()
        find_template(model_folder(spec.model), spec.revision)
        return
    find_model(model_folder(spec.model), spec.revision)
    if spec.kind == "vllm":
        from cai.engine.vllm_engine import check_installed

        check_installed()


def model_folder(model: str) -> str:
    """The built-in model's folder for "tiny", any other name as it is."""
    if model != "tiny" or Path(model).is_dir():
        return model
    from cai.testbed import TINY

    return str(TINY)


def _announce(line: str) -> None:
    typer.echo(line, err=True)
