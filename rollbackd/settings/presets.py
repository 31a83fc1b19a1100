"""What common exporters measure, as indicators: the metrics' own names, so that nobody has to look them up.

Sources: the documentation of Istio (Standard Metrics), Envoy (cluster statistics), ingress-nginx (Monitoring), go-grpc-prometheus and
Fly.io (Metrics).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

Preset = Literal["http", "nginx-ingress", "istio", "envoy", "grpc", "fly-edge"]
Measured = Literal["errors", "latency"]

_GRPC_FAULTS: Final = "Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss"
"""What is the server's fault, and not the caller's."""


@dataclass(frozen=True, slots=True)
class _Exporter:
    """`requests` counts them, `failed` are the labels of those that failed; `duration` is a histogram, in units of `milliseconds`."""

    requests: str
    failed: str
    duration: str
    milliseconds: int
    labels: str = ""  # of all of them


_EXPORTERS: Final[Mapping[str, _Exporter]] = {
    "http": _Exporter("http_requests_total", 'code=~"5.."', "http_request_duration_seconds", 1000),
    "nginx-ingress": _Exporter(
        "nginx_ingress_controller_requests", 'status=~"5.."', "nginx_ingress_controller_request_duration_seconds", 1000
    ),
    # Both sides of a request count it: here the one that serves.
    "istio": _Exporter(
        "istio_requests_total", 'response_code=~"5.."', "istio_request_duration_milliseconds", 1, labels='reporter="destination"'
    ),
    "envoy": _Exporter("envoy_cluster_upstream_rq_xx", 'envoy_response_code_class="5"', "envoy_cluster_upstream_rq_time", 1),
    "grpc": _Exporter("grpc_server_handled_total", f'grpc_code=~"{_GRPC_FAULTS}"', "grpc_server_handling_seconds", 1000),
    "fly-edge": _Exporter("fly_edge_http_responses_count", 'status=~"5.."', "fly_edge_http_response_time_seconds", 1000),
}


def queries(preset: str, measured: str, quantile: float) -> Mapping[str, str] | None:
    """The fields of an indicator: the ratio of errors, or a quantile of the latency in milliseconds. None: there is no such preset."""
    exporter = _EXPORTERS.get(preset)
    if exporter is None or measured not in get_args(Measured):
        return None

    def of(metric: str, *more: str) -> str:
        return f"{metric}{{{','.join(filter(None, ('$selector', exporter.labels, *more)))}}}"

    if measured == "errors":
        bad, total = of(exporter.requests, exporter.failed), of(exporter.requests)
        return {
            "bad": f"sum(increase({bad}[$window]))",
            "total": f"sum(increase({total}[$window]))",
            "samples": total,
            "bad_samples": bad,
        }
    count, factor = of(f"{exporter.duration}_count"), f"{exporter.milliseconds} * " if exporter.milliseconds != 1 else ""
    return {
        "query": f"{factor}histogram_quantile({quantile:g}, sum by (le) (rate({of(f'{exporter.duration}_bucket')}[$window])))",
        "count": f"sum(increase({count}[$window]))",
        "samples": count,
    }
