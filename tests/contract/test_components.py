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


@pytest.mark.parametrize("name", ["evaluate", "merge_evaluation"])
def test_the_ui_draws_the_curves(name: str) -> None:
    outputs = getattr(stages, name).component_spec.outputs
    assert outputs["verification"].type.startswith("system.ClassificationMetrics@")


@pytest.mark.parametrize("name", [*steps.STEPS, *steps.SIDE_STEPS, "finish"])
def test_a_component_holds_no_logic(name: str) -> None:
    """Kubeflow copies its body: a docstring, imports from the image, one call."""
    source = textwrap.dedent(inspect.getsource(getattr(stages, name).python_func))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    document, *between, call = function.body
    assert isinstance(document, ast.Expr)
    assert all(isinstance(each, ast.ImportFrom | ast.Assign) for each in between)
    modules = {each.module for each in between if isinstance(each, ast.ImportFrom)}
    assert {"components.shell"} <= modules <= {"components.shell", "components.pages"}
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    if name != "finish":
        assert ast.literal_eval(call.value.args[0]) == name
        given = {key.arg: key.value for key in call.value.keywords if key.arg}
        for each in between:
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "inputs":
                assert isinstance(each.value, ast.Dict)
                keys = [ast.literal_eval(key) for key in each.value.keys if key]
                given |= dict(zip(keys, each.value.values, strict=True))
        assert set(given) - OPTIONS == set(steps.ports(steps.load(name)))
        assert all(isinstance(value, ast.Name) and value.id == key for key, value in given.items())


@pytest.mark.parametrize("name", summary.METRICS)
def test_a_summary_has_at_most_ten_finite_metrics(name: str) -> None:
    names = summary.METRICS[name]
    assert len(set(names)) == len(names) <= 10
    values = dict.fromkeys([*names, "another"], 1.0) | {names[0]: math.nan}
    assert set(summary.summary(name, values)) == set(names[1:])
    assert hasattr(stages, name)
