"""Each component is a typed shell of its step, without logic."""

import ast
import inspect
import math
import textwrap

import pytest
from compiled import kebab

from components import stages, summary
from refsr import steps

SHOWN = {"report", "results", "verification", "card"}  # in the UI
OPTIONS = {"uri", "layout", "shard"}  # texts beside the artifacts


@pytest.mark.parametrize("name", [*steps.STEPS, *steps.SIDE_STEPS])
def test_a_component_takes_the_paths_of_its_step(name: str) -> None:
    component = getattr(stages, name, None)
    assert component, (
        f"components/stages.py: add a component for `{name}`, see docs/how-to/extend.md"
    )
    assert component.name == kebab(name)
    ports = steps.ports(steps.load(name))
    kinds = {"input": set(), "output": set()}
    for port, kind in ports.items():
        kinds["output" if kind.endswith("output") else "input"].add(port)
    taken = component.component_spec.inputs
    assert set(taken) - {"params", "tracking_uri", *OPTIONS} == kinds["input"]
    assert ("uri" in taken) == ("raw set" in ports.values())
    assert set(component.component_spec.outputs) - SHOWN == kinds["output"] | {"metrics"}


@pytest.mark.parametrize("name", [*steps.STEPS, *steps.SIDE_STEPS, "finish"])
def test_a_component_holds_no_logic(name: str) -> None:
    """Kubeflow copies its body: a docstring, an import from the image, one call with the stage."""
    source = textwrap.dedent(inspect.getsource(getattr(stages, name).python_func))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    document, imported, call = function.body
    assert isinstance(document, ast.Expr)
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == "components.shell"
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    if name != "finish":
        assert ast.literal_eval(call.value.args[0]) == name
        assert {k.arg for k in call.value.keywords} - OPTIONS == set(steps.ports(steps.load(name)))
        assert all(
            isinstance(k.value, ast.Name) and k.value.id == k.arg for k in call.value.keywords
        )


@pytest.mark.parametrize("name", summary.METRICS)
def test_a_summary_has_at_most_ten_finite_metrics(name: str) -> None:
    names = summary.METRICS[name]
    assert len(set(names)) == len(names) <= 10
    values = dict.fromkeys([*names, "another"], 1.0) | {names[0]: math.nan}
    assert set(summary.summary(name, values)) == set(names[1:])
    assert hasattr(stages, name)
