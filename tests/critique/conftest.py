import pytest

from cai.critique.loop import Parts
from cai.engine.scripted import ScriptedEngine
from tests.critique.script import behave


@pytest.fixture
def parts() -> Parts:
    engine = ScriptedEngine(behave)
    return Parts(engine, engine, engine)
