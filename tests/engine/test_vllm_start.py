"""What is said where vLLM cannot run: pure checks, no vLLM needed."""

from dataclasses import dataclass

import pytest

from cai.config import load_settings
from cai.config.engine import EngineSettings, VllmSettings
from cai.engine.vllm_start import check_devices, check_version
from cai.errors import InputError


@dataclass
class Machine:
    """A platform as vLLM sees it."""

    kind: str

    def is_unspecified(self) -> bool:
        return self.kind == "nothing"

    def is_cpu(self) -> bool:
        return self.kind == "cpu"


def test_a_gpu_build_without_a_gpu_is_told_what_to_do() -> None:
    with pytest.raises(InputError, match=r"finds no GPU here.*make vllm.*--engine transformers"):
        check_devices(Machine("nothing"), 0, VllmSettings())


def test_more_gpus_than_there_are_is_refused_and_processes_on_a_cpu_are_not() -> None:
    own = VllmSettings(tensor_parallel=2, data_parallel=2)
    with pytest.raises(InputError, match=r"engine\.vllm: 2 x 2 GPUs are asked for, there are 2; .*--engine ray:vllm"):
        check_devices(Machine("cuda"), 2, own)
    check_devices(Machine("cuda"), 4, own)
    check_devices(Machine("cpu"), 0, own)


def test_sleep_mode_is_refused_where_it_frees_nothing() -> None:
    with pytest.raises(InputError, match="sleep mode is for GPUs"):
        check_devices(Machine("cpu"), 0, VllmSettings(sleep=True))
    check_devices(Machine("cuda"), 1, VllmSettings(sleep=True))


@pytest.mark.parametrize("version", ["0.24.1", "0.33.0", "1.0.0+cpu"])
def test_versions_outside_the_range_are_refused(version: str) -> None:
    with pytest.raises(InputError, match=r"is not supported; install a version from 0\.25 to below 0\.33"):
        check_version(version)


@pytest.mark.parametrize("version", ["0.25.0", "0.32.0+cpu", "0.32.1rc1"])
def test_versions_inside_the_range_are_taken(version: str) -> None:
    check_version(version)


def test_the_extra_installs_versions_that_are_accepted() -> None:
    """pyproject.toml and the check at the start state the same range."""
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["vllm"] == ["vllm>=0.25,<0.33"]


def test_several_processes_cannot_run_in_this_one() -> None:
    with pytest.raises(InputError, match="several processes need async_llm"):
        load_settings(
            EngineSettings, "engine", None, ["engine.vllm.async_llm=false", "engine.vllm.data_parallel=2"], {}
        )
    assert not VllmSettings().in_processes
    assert VllmSettings(async_llm=True).in_processes
    assert EngineSettings(kind="vllm", vllm=VllmSettings(data_parallel=4)).in_flight == 2048
