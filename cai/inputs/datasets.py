# pyright: standard
"""Hugging Face datasets: a folder saved by `datasets`, or a name on the hub. `trust_remote_code` is never given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from cai.errors import InputError, Where

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` made this folder."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def is_hub_name(name: str) -> bool:
    """Whether the text could name a dataset on the hub: `owner/name`."""
    return _HUB_NAME.fullmatch(name) is not None and "/" in name


def open_dataset(
    name: str, split: str, wanted: Callable[[list[str]], list[str]] | None = None
) -> tuple[Iterable[Mapping[str, object]], str, str]:
    """Rows, `name[split]` and a fingerprint. Raises `InputError`: not there, no network, split unclear or unknown.

    `wanted` picks the columns worth reading, so that pictures and sounds in others are not decoded; none means all.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()
    folder = Path(name)
    try:
        found = datasets.load_from_disk(name) if folder.is_dir() else datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # RuntimeError: it brings code of its own
        first = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "check the name and the network, or give a file" if not folder.is_dir() else "save it again"
        raise InputError(f"cannot load the dataset: {first}", remedy, Where(name)) from error
    if isinstance(found, datasets.DatasetDict | datasets.IterableDatasetDict):
        split = _pick_split([str(key) for key in found], split, name)
        found = found[split]
    fingerprint = str(getattr(found, "_fingerprint", ""))
    if wanted is not None and (columns := wanted(list(found.column_names or ()))):
        found = found.select_columns(columns)
    label = f"{folder.name}[{split}]" if split else folder.name
    return cast("Iterable[Mapping[str, object]]", found), label, fingerprint


def _pick_split(names: list[str], split: str, name: str) -> str:
    if split in names:
        return split
    if not split and len(names) == 1:
        return names[0]
    what = f"no split `{split}`" if split else "the dataset has several splits"
    raise InputError(what, f"choose one with --split: {', '.join(names)}", Where(name))
