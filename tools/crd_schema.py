"""A JSON schema of the spec in a CustomResourceDefinition, for k8s/schemas.

`python -m tools.crd_schema CRD.yaml VERSION SOURCE > k8s/schemas/KIND.json`. It has no descriptions
and no status, and refuses unknown fields, as a server does with strict validation.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from refsr.console import exit_status, run_as_process

KEPT = ("type", "enum", "required", "pattern", "minimum", "maximum", "minItems", "minLength")
NESTED = ("items", "additionalProperties")
# Parts of KServe's type that this project does not use; they are nine tenths of the file.
_RUNTIMES = "huggingface lightgbm onnx paddle pmml pytorch sklearn tensorflow triton xgboost"
LEFT_OUT = {
    "InferenceService": {
        "spec": ("canary", "explainer", "transformer"),
        "predictor": (*_RUNTIMES.split(), "affinity", "model", "workerSpec"),
    }
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the schema of one version; returns the exit status."""
    path, version, source = argv or sys.argv[1:]
    return exit_status(lambda: print(schema_of(Path(path).read_text(), version, source)))


def schema_of(text: str, version: str, source: str) -> str:
    """The schema of a version of the kind that a CRD defines, as JSON of one line."""
    crd = yaml.load(text, yaml.CSafeLoader)["spec"]
    kind = crd["names"]["kind"]
    (declared,) = (each for each in crd["versions"] if each["name"] == version)
    spec = declared["schema"]["openAPIV3Schema"]["properties"]["spec"]
    document = {
        "$comment": f"{kind} from {source}, by tools/crd_schema.py",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": f"{crd['group']}/{version}"},
            "kind": {"const": kind},
            "metadata": {"type": "object"},
            "spec": _reduced(spec, "spec", LEFT_OUT.get(kind, {})),
        },
    }
    return json.dumps(document, separators=(",", ":"))


def _reduced(schema: Mapping[str, Any], name: str, left_out: Mapping[str, Sequence[str]]) -> Any:
    """A part of the schema, without what only the API server reads."""
    result = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    for key in NESTED:
        if isinstance(schema.get(key), Mapping):
            result[key] = _reduced(schema[key], name, left_out)
    if "properties" in schema:
        result["properties"] = {
            key: _reduced(value, key, left_out)
            for key, value in schema["properties"].items()
            if key not in left_out.get(name, ())
        }
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    return result


if __name__ == "__main__":
    run_as_process(main)
