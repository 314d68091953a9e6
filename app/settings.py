"""Every setting of the service, defined once: `trunkline serve --help`, `TRUNKLINE_*` and `.env` all come from here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ByteSize, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.serving.types import ServingConfig
from app.threads import gpu_expected

if TYPE_CHECKING:
    from app.intake.limits import Limits

_ROOT = Path(__file__).resolve().parent.parent
# A larger batch gains nothing on a CPU, and sizes between the powers of two are cheap to warm there; a GPU is filled by
# larger ones, and has a graph for each.
_SIZES_ON_CPU = (1, 2, 4, 8, 12, 16, 24, 32)
_SIZES_ON_GPU = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Settings(BaseSettings):
    """How to serve. A flag wins over the environment, the environment over `.env`, that over the default."""

    model_config = SettingsConfigDict(
        env_prefix="TRUNKLINE_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    bundles: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(_ROOT / "weights" / "fashion",),
        description="folders of the bundles to serve, the default model first; separated by commas",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        default="auto",
        description="processes that speak HTTP and decode, with an engine in one of its own for them all; 1 for one "
        "process that does everything; auto chooses by cores and device",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where the network runs; auto takes the GPU when there is one"
    )
    runtime: Literal["auto", "openvino", "onnxruntime", "torch"] = Field(
        default="auto",
        description="library that runs the network; auto takes torch on a GPU, and on a CPU the first installed one "
        "that can read the bundle, in this order",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of the arithmetic; auto takes bf16 where runtime and processor have it natively"
    )
    torch_threads: int | None = Field(
        default=None, ge=1, description="threads of a forward on the CPU; one a usable core when unset"
    )
    intake_threads: int | None = Field(
        default=None, ge=1, le=256, description="threads that decode and tokenise; one a usable core when unset"
    )
    batch_sizes: Annotated[tuple[int, ...] | None, NoDecode] = Field(
        default=None,
        description="batch sizes that are warmed and run, ascending, separated by commas; the last bounds a batch; "
        "when unset, 1,2,4,8,12,16,24,32, or the powers of two up to 256 for a GPU",
    )
    max_queue: int = Field(default=512, ge=1, description="prepared requests that may wait for the engine")
    max_in_flight: int = Field(default=512, ge=1, description="requests between admission and answer; more get 429")
    max_wait: float = Field(
        default=1.0,
        gt=0,
        description="seconds that a request may have to wait by what is in flight, a quarter of it beyond four full "
        "batches; more get 429",
    )
    max_explanations: int = Field(
        default=2,
        ge=0,
        description="full explanations (explain=full) under way at a time, in each process; more get 429, 0 gives none",
    )
    max_bytes_in_flight: ByteSize = Field(
        default=ByteSize(1 << 30), ge=1, description="uploads held at a time, such as 512MiB; more get 429"
    )
    max_image_bytes: ByteSize = Field(
        default=ByteSize(20 << 20), ge=1, description="largest picture file, such as 20MiB; a larger one gets 413"
    )
    max_pixels: int = Field(
        default=50_000_000, ge=1, description="largest picture in pixels, read from its header; a larger one gets 413"
    )
    max_text_chars: int = Field(
        default=100_000,
        ge=1,
        description="characters of a text that are read; a longer one is cut, and the answer says so",
    )
    max_text_bytes: ByteSize = Field(
        default=ByteSize(8 << 20), ge=1, description="largest text part, such as 8MiB; a larger one gets 413"
    )
    cache_size: ByteSize = Field(
        default=ByteSize(64 << 20),
        ge=0,
        description="answers kept for identical requests, such as 64MiB; 0 keeps none, and answers each by itself",
    )
    deadline: float = Field(
        default=30.0, gt=0, le=3600, description="seconds a request may take from its first byte, upload included"
    )
    drain_timeout: float = Field(
        default=30.0, ge=0, description="seconds that accepted requests get to finish after SIGTERM"
    )
    hang_timeout: float = Field(
        default=10.0,
        ge=0,
        description="seconds without a sign of life after which a forward, or a whole process, counts as hung and its "
        "process is started again; longer for forwards that are measured to take long; 0 never",
    )
    keep_alive: int = Field(default=75, ge=0, description="seconds after which an idle connection is closed")
    client_timeout: float = Field(
        default=10.0,
        gt=0,
        description="seconds that a client gets for the head of a request, for an upload (and one more for each 4 KiB "
        "that came), and to take its answer; a slower one gets 408 or is cut off",
    )
    max_connections: int = Field(
        default=2048, ge=1, description="open connections; idle ones make room for further ones, which wait otherwise"
    )
    reuse_port: bool = Field(
        default=False,
        description="let another service of the same user have the port, too: one that is started takes connections "
        "when it is ready, and all of them when this one is stopped",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="origins whose pages may call the service, separated by commas; none by default"
    )
    keys: Path | None = Field(
        default=None,
        description="file of API keys, which `trunkline keys add` makes; when set, who asks needs a key",
    )
    no_keys: bool = Field(
        default=False,
        description="ask nobody for a key, even on an address that other machines reach, and whatever keys says",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    log_format: Literal["plain", "json"] = Field(
        default="plain", description="one readable line or one JSON object a record"
    )

    @field_validator("bundles", "batch_sizes", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            return [piece.strip() for part in value for piece in part.split(",") if piece.strip()]
        return value

    @field_validator("bundles", "batch_sizes", mode="after")
    @classmethod
    def _not_empty(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value == ():
            raise ValueError("give at least one, several separated by commas")
        return value

    @field_validator("batch_sizes")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (min(value) < 1 or list(value) != sorted(set(value))):
            raise ValueError("give whole numbers from 1, ascending, such as 1,2,4,8")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, separator, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not separator or not host or "/" in host):
                raise ValueError(f"{origin!r} is not an origin such as https://shop.example or http://localhost:3000")
        return value

    def limits(self) -> Limits:
        """The bounds that intake keeps."""
        # Intake brings its decoders along; the command line and the supervisor decode nothing.
        from app.intake.limits import Limits

        return Limits(
            max_image_bytes=self.max_image_bytes, max_pixels=self.max_pixels, max_text_chars=self.max_text_chars
        )

    def runtime_choice(self) -> dict[str, Any]:
        """What `choose_runtime` is asked for."""
        return {
            "runtime": self.runtime,
            "device": self.device,
            "precision": self.precision,
            "threads": self.torch_threads,
            "batch_sizes": self.chosen_batch_sizes(),
        }

    def chosen_batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes, those for the expected device where none are set."""
        if self.batch_sizes is not None:
            return self.batch_sizes
        return _SIZES_ON_GPU if gpu_expected(self.device) else _SIZES_ON_CPU

    def serving(self) -> ServingConfig:
        """The bounds and sizes that the pipeline keeps."""
        return ServingConfig(
            bundles=self.bundles,
            device=self.device,
            torch_threads=self.torch_threads,
            batch_sizes=self.chosen_batch_sizes(),
            max_queue=self.max_queue,
            max_in_flight=self.max_in_flight,
            max_wait=self.max_wait,
            max_explanations=self.max_explanations,
            max_bytes_in_flight=self.max_bytes_in_flight,
            default_deadline=self.deadline,
            hang_timeout=self.hang_timeout,
            cache_bytes=self.cache_size,
        )
