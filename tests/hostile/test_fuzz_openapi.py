"""What the OpenAPI document promises holds for whatever schemathesis makes of it, over a real socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.app.processes.service import Service

pytestmark = pytest.mark.slow
FULL = 600  # seconds over all operations
EXAMPLES = 60  # of each operation and mode, else


def no_server_error(context: Any, response: Any, case: Any) -> bool | None:
    """A deadline that the request set itself may pass: 504 is then what the document promises."""
    asked = any(name.lower() == "x-deadline-ms" for name in case.headers or {})
    return None if asked and response.status_code == 504 else not_a_server_error(context, response, case)


def rejected(context: Any, response: Any, case: Any) -> bool | None:
    """In a form everything is text and an empty field counts as left out, which no schema says."""
    return None if case.media_type == "multipart/form-data" else negative_data_rejection(context, response, case)


CHECKS = [
    no_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip


def test_the_service_does_what_its_openapi_document_says(
    service: Service, full_length: bool, record_property: Callable[[str, object], None]
) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/predict", "/models", "/models/{name}", "/health/ready"}
    ends = time.monotonic() + FULL
    count = 0

    def check(operation: Any, mode: GenerationMode) -> None:
        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal count
            count += 1
            rejects = [rejected] if mode is GenerationMode.NEGATIVE else []
            case.call_and_validate(checks=CHECKS + rejects, base_url=service.url)

        ask()

    while True:
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    check(operation, mode)
                except Unsatisfiable:
                    assert mode is GenerationMode.NEGATIVE  # a probe takes nothing that could be wrong
        if not full_length or time.monotonic() > ends:
            break
    record_property("requests", count)
