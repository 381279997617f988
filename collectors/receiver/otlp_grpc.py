"""OTLP over gRPC, for senders that have no HTTP exporter: the same decoding, mapping and confirmation as over HTTP.

Needs the extra ``otlp-grpc``. Semantics by https://opentelemetry.io/docs/specs/otlp/#otlpgrpc: ``UNAVAILABLE`` means
that nothing was kept and the sender shall try again, ``INVALID_ARGUMENT`` that trying again is of no use.
``RESOURCE_EXHAUSTED`` (the spool is full, the sender sends too much) comes with a ``RetryInfo``, without which senders
must not try again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .intake import IntakeFull, Mapped
from .otlp_decode import MalformedBodyError, Refusals, decode_logs
from .otlp_reply import RETRY_AFTER_SECONDS
from .otlp_schema import ExportResponse, PartialSuccess, RetryInfo, RpcStatus
from .sender_limits import within_scope
from .sender_tokens import Sender

if TYPE_CHECKING:
    from .receiver import Receiver

__all__ = ["GrpcServer", "MissingExtraError"]

_SERVICES = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "trace",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
}
_CONFIRM_SECONDS = 8.0
_WORKERS = 16


class MissingExtraError(ImportError):
    """``grpcio`` is not installed."""


class GrpcServer:
    """Listens for OTLP/gRPC; requests go the way of the receiver's others.

    Args:
        receiver: The receiver whose intake, limits and tokens are used.
        host: Address to listen on.
        port: Port; 0 takes a free one.

    Attributes:
        port: The port it listens on.

    Raises:
        MissingExtraError: the extra is not installed.
        OSError: the address cannot be listened on.
    """

    def __init__(self, receiver: Receiver, host: str, port: int) -> None:
        try:
            import grpc
        except ImportError:
            raise MissingExtraError(
                "receiver.grpc_port is set, and grpcio is not installed; run `pip install 'cxgauge[otlp-grpc]'`"
            ) from None
        self._grpc = grpc
        self._receiver = receiver
        limit = receiver.config.body_bytes_limit
        self._server = grpc.server(
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="cxgauge-grpc"),
            options=[("grpc.max_receive_message_length", limit), ("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=receiver.config.waiting_limit,
            compression=grpc.Compression.NoCompression,
        )
        self._server.add_generic_rpc_handlers((self._handlers(),))
        try:
            self.port: int = self._listen(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise OSError(f"the receiver cannot listen on {host}:{port} for gRPC")

    def start(self) -> None:
        """Take requests."""
        self._server.start()

    def stop(self) -> None:
        """Take no more, and let those under way end."""
        self._server.stop(5.0).wait()

    def _listen(self, address: str) -> int:
        tls = self._receiver.config.tls
        if tls is None:
            return int(self._server.add_insecure_port(address))
        authority = None if tls.client_authority is None else tls.client_authority.read_bytes()
        pair = (tls.private_key.read_bytes(), tls.certificate.read_bytes())
        credentials = self._grpc.ssl_server_credentials([pair], authority, authority is not None)
        return int(self._server.add_secure_port(address, credentials))

    def _handlers(self) -> Any:
        grpc = self._grpc
        methods = {path: grpc.unary_unary_rpc_method_handler(self._export(kind)) for path, kind in _SERVICES.items()}

        members = {"service": lambda _, details: methods.get(details.method)}
        return type("Handlers", (grpc.GenericRpcHandler,), members)()

    def _export(self, kind: str) -> Callable[[bytes, Any], bytes]:
        codes = self._grpc.StatusCode

        def export(body: bytes, context: Any) -> bytes:
            sender = self._sender(context)
            self._receiver.charge(sender, context.peer(), len(body))
            try:
                mapped = self._receiver.submit(lambda: within_scope(self._map(kind, body), sender), _CONFIRM_SECONDS)
            except MalformedBodyError as error:
                self._receiver.count_refused(error)
                context.abort(codes.INVALID_ARGUMENT, str(error))
            except IntakeFull as error:
                self._receiver.count_refused(error)
                context.abort(codes.UNAVAILABLE, "not accepted, try again: too much is being received at once")
            except Exception as error:
                status, message = self._receiver.refusal(error)
                if status == 429:
                    self._exhausted(context, message)
                context.abort(codes.UNAVAILABLE if status == 503 else codes.INTERNAL, message)
            return _reply(mapped.refusals)

        return export

    def _map(self, kind: str, body: bytes) -> Mapped:
        refusals, mapper = Refusals(), self._receiver.mapper
        if kind == "trace":
            return mapper.map_trace_body(body, refusals)
        return mapper.map_logs(decode_logs(body, is_json=False, refusals=refusals), refusals)

    def _sender(self, context: Any) -> Sender:
        headers = dict(context.invocation_metadata())
        try:
            return self._receiver.admitted(str(headers.get("authorization", "")), "", context.peer())
        except Exception as error:
            status, message = self._receiver.refusal(error)
            if status == 429:
                self._exhausted(context, message)
            codes = self._grpc.StatusCode
            context.abort(codes.UNAUTHENTICATED if status == 401 else codes.UNAVAILABLE, message)
            raise

    def _exhausted(self, context: Any, message: str) -> None:
        """Refuse, and say when to try again."""
        code = self._grpc.StatusCode.RESOURCE_EXHAUSTED
        status = RpcStatus(code=code.value[0], message=message.encode())
        delay = RetryInfo(retry_delay={"seconds": RETRY_AFTER_SECONDS}).SerializeToString()
        status.details.add(type_url=b"type.googleapis.com/google.rpc.RetryInfo", value=delay)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)


def _reply(refusals: Refusals) -> bytes:
    if not refusals.count:
        return b""
    partial = PartialSuccess(rejected=refusals.count, error_message=refusals.message().encode())
    return bytes(ExportResponse(partial_success=partial).SerializeToString())
