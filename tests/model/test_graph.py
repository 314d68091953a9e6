"""What a graph may refer to, read byte by byte: the bundle's weights, tensor by tensor, and nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors.numpy import save

from model.graph import GraphError, Reference, check_references, external_references, tensor_extents

VALUES = {"a": np.arange(100, dtype=np.float32), "b": np.arange(64, dtype=np.int64).reshape(8, 8), "c": np.float32(1)}
WEIGHTS = save({name: np.asarray(values) for name, values in VALUES.items()})
EXTENTS = tensor_extents(WEIGHTS)


def tensor(name: str = "a", **entries: object) -> TensorProto:
    """A tensor that lies outside; what is not said is as in the weights."""
    offset, length = EXTENTS[name]
    made = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[100], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "model.safetensors", "offset": offset, "length": length, **entries}.items():
        if value is not None:
            made.external_data.add(key=key, value=str(value))
    return made


def model(*initializers: TensorProto, nodes: tuple[onnx.NodeProto, ...] = ()) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [], [], list(initializers))
    return helper.make_model(graph)


def check(made: onnx.ModelProto) -> None:
    check_references(made.SerializeToString(), "model.safetensors", WEIGHTS)


def test_extents_are_where_the_bytes_are() -> None:
    for name, values in VALUES.items():
        offset, length = EXTENTS[name]
        assert WEIGHTS[offset : offset + length] == np.asarray(values).tobytes()


def test_references_to_the_weights_are_found_and_taken() -> None:
    inline = onnx.numpy_helper.from_array(np.ones(3, np.float32), "inline")
    made = model(tensor("a"), inline, tensor("b"))
    check(made)
    expected = [Reference(name, "model.safetensors", *EXTENTS[name]) for name in ("a", "b")]
    assert external_references(made.SerializeToString()) == expected


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"location": "../model.safetensors"}, "may refer to model.safetensors alone"),
        ({"location": "/etc/passwd"}, "/etc/passwd"),
        ({"location": "golden.json"}, "golden.json"),
        ({"location": "MODEL.SAFETENSORS"}, "alone"),
        ({"location": None}, "not by location, offset and length"),
        ({"offset": None}, "not by location, offset and length"),
        ({"length": None}, "not by location, offset and length"),
        ({"offset": 0}, "no tensor of that size starts"),
        ({"offset": EXTENTS["a"][0] + 4}, "no tensor of that size starts"),
        ({"length": EXTENTS["a"][1] - 4}, "no tensor of that size starts"),
        ({"length": 10**12}, "no tensor of that size starts"),
        ({"offset": -1}, "no tensor of that size starts"),
        ({"offset": "x"}, "not by location, offset and length"),
    ],
)
def test_any_other_reference_is_refused(entries: dict[str, object], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        check(model(tensor("b"), tensor("a", **entries)))


def test_two_words_on_one_thing_are_refused() -> None:
    """Readers differ in which of the two they believe."""
    twice = tensor("a")
    twice.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(GraphError, match="names its location twice"):
        check(model(twice))


def test_external_data_is_seen_whatever_the_location_says() -> None:
    hidden = tensor("a", location="/etc/passwd")
    hidden.data_location = TensorProto.DEFAULT
    with pytest.raises(GraphError, match="/etc/passwd"):
        check(model(hidden))


def in_attribute(bad: TensorProto) -> onnx.ModelProto:
    return model(nodes=(helper.make_node("Constant", [], ["x"], value=bad),))


def in_list(bad: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Odd", [], ["x"])
    node.attribute.append(onnx.AttributeProto(name="all", type=onnx.AttributeProto.TENSORS, tensors=[bad]))
    return model(nodes=(node,))


def in_branch(bad: TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=bad)], "branch", [], [])
    return model(nodes=(helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=branch),))


def in_branches(bad: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Odd", [], ["x"])
    graph = helper.make_graph([], "inner", [], [], [bad])
    node.attribute.append(onnx.AttributeProto(name="all", type=onnx.AttributeProto.GRAPHS, graphs=[graph]))
    return model(nodes=(node,))


def in_sparse(bad: TensorProto) -> onnx.ModelProto:
    made = model()
    made.graph.sparse_initializer.append(onnx.SparseTensorProto(values=TensorProto(name="v"), indices=bad, dims=[9]))
    return made


def in_sparse_attribute(bad: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Odd", [], ["x"])
    sparse = onnx.SparseTensorProto(values=bad, dims=[9])
    node.attribute.append(onnx.AttributeProto(name="v", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse))
    node.attribute.append(
        onnx.AttributeProto(name="w", type=onnx.AttributeProto.SPARSE_TENSORS, sparse_tensors=[sparse])
    )
    return model(nodes=(node,))


def in_function(bad: TensorProto) -> onnx.ModelProto:
    made = model()
    made.functions.append(
        helper.make_function("d", "f", [], ["x"], [helper.make_node("Constant", [], ["x"], value=bad)], [])
    )
    return made


def in_default(bad: TensorProto) -> onnx.ModelProto:
    made = model()
    function = helper.make_function("d", "f", [], [], [], [])
    function.attribute_proto.append(onnx.AttributeProto(name="v", type=onnx.AttributeProto.TENSOR, t=bad))
    made.functions.append(function)
    return made


def in_training(bad: TensorProto) -> onnx.ModelProto:
    made = model()
    made.training_info.append(onnx.TrainingInfoProto(algorithm=helper.make_graph([], "a", [], [], [bad])))
    return made


PLACES = [
    in_attribute, in_list, in_branch, in_branches, in_sparse, in_sparse_attribute, in_function, in_default, in_training
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_is_found_wherever_a_model_can_hold_one(place: Callable[[TensorProto], onnx.ModelProto]) -> None:
    check(place(tensor("a")))
    with pytest.raises(GraphError, match="/etc/passwd"):
        check(place(tensor("a", location="/etc/passwd")))


def holders(descriptor: object, seen: dict[str, set[str]]) -> None:
    """Message -> those of its fields, through which a tensor can be reached."""
    for field in descriptor.fields:  # type: ignore[attr-defined]
        if field.message_type is not None and field.message_type.name not in seen:
            seen[field.message_type.name] = set()
            holders(field.message_type, seen)
    seen.setdefault(descriptor.name, set()).update(  # type: ignore[attr-defined]
        field.message_type.name
        for field in descriptor.fields
        if field.message_type is not None  # type: ignore[attr-defined]
    )


def test_no_other_message_of_the_format_can_hold_a_tensor() -> None:
    """The format's own description, so that a newer onnx with another place for tensors fails here."""
    seen: dict[str, set[str]] = {}
    holders(onnx.ModelProto.DESCRIPTOR, seen)
    reach = {"TensorProto"}
    while more := {name for name, fields in seen.items() if fields & reach} - reach:
        reach |= more
    assert reach == {
        "TensorProto", "SparseTensorProto", "AttributeProto", "NodeProto", "GraphProto", "FunctionProto",
        "TrainingInfoProto", "ModelProto",
    }  # fmt: skip


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(GraphError):
        external_references(content)


@given(st.data())
def test_a_damaged_model_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(in_branch(tensor("a")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(GraphError):
        check_references(bytes(content), "model.safetensors", WEIGHTS)


def test_nesting_without_end_is_refused() -> None:
    graph = helper.make_graph([], "g", [], [], [tensor("a")])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["x"], then_branch=graph)], "g", [], [])
    with pytest.raises(GraphError, match="nested too deep"):
        external_references(helper.make_model(graph).SerializeToString())


def test_metadata_of_the_weights_is_no_tensor() -> None:
    assert set(tensor_extents(save({"a": VALUES["a"]}, {"note": json.dumps({"data_offsets": [0, 4]})}))) == {"a"}
