"""The proofs of the statistics on simulated, clustered data; the benchmark prints the same figures."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "intervals.py"


@pytest.fixture(scope="module")
def proofs():
    spec = importlib.util.spec_from_file_location("intervals_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["intervals_benchmark"] = module
    spec.loader.exec_module(module)
    return module


def test_no_benchmark_hides_a_module_of_the_standard_library():
    # `python benchmarks/x.py` puts the folder first on the path: a statistics.py there broke every import of torch.
    assert not {path.stem for path in PATH.parent.glob("*.py")} & sys.stdlib_module_names


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, -0.1])
def test_intervals_cover_the_truth(proofs, effect):
    found = proofs.coverage(1000, 100, effect)
    assert 0.93 <= found.share <= 0.97


@pytest.mark.slow
def test_identical_sides_rarely_differ(proofs):
    assert proofs.no_false_alarms(200, 100).share >= 0.93


@pytest.mark.slow
def test_the_stated_detectable_effect_is_found(proofs):
    assert proofs.power(500, 100).share >= 0.78


def test_a_few_simulations_cover_too(proofs):
    # 60 simulations: at a true coverage of 95 %, fewer than 51 cover with a probability of about 0.1 %.
    assert proofs.coverage(60, 40, -0.1).share >= 51 / 60
