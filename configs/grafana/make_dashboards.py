"""Write the dashboards in dashboards/ as Grafana provisions them: `make dashboards`.

Built with Grafana's own typed library, so that what is written is what its schema allows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import barchart, bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, StackingMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode, VariableRefresh

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
HERE = 'cluster=~"$cluster"'
Panel = stat.Panel | timeseries.Panel | barchart.Panel | bargauge.Panel


def query(expression: str, legend: str, *, instant: bool = False) -> prometheus.Dataquery:
    """A query; an instant one has a value for each series and no course."""
    made = prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend)
    return made.instant() if instant else made.range()


def quantiles(seconds: str) -> tuple[prometheus.Dataquery, prometheus.Dataquery]:
    """How long half of a histogram's requests take at most, and 95 % of them; `seconds` are its buckets."""
    half, most = (f"histogram_quantile({share}, {seconds})" for share in (0.5, 0.95))
    return query(half, "half are faster"), query(most, "95 % are faster")


def state(title: str, expression: str, legend: str, unit: str = "short", *, bad_below: float | None = None) -> Panel:
    """The value now, of each series."""
    panel = stat.Panel().title(title).datasource(SOURCE).unit(unit).height(4).span(6)
    panel = panel.with_target(query(expression, legend, instant=True))
    if bad_below is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=bad_below, color="green")]
        limits = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
        panel = panel.thresholds(limits).color_mode(BigValueColorMode.BACKGROUND)
    return panel


def course(title: str, unit: str, *queries: prometheus.Dataquery, stacked: bool = False) -> Panel:
    """Values over time."""
    panel = timeseries.Panel().title(title).datasource(SOURCE).unit(unit).height(8).span(12).min(0)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(60)
    for one in queries:
        panel = panel.with_target(one)
    return panel


def bars(title: str, unit: str, expression: str, legend: str = "layer {{layer}}, {{block}}") -> Panel:
    """One bar for each series, over the time that is shown."""
    panel = bargauge.Panel().title(title).datasource(SOURCE).unit(unit).height(10).span(8).min(0)
    return panel.orientation(VizOrientation.HORIZONTAL).with_target(query(expression, legend, instant=True))


def page(title: str, uid: str, description: str) -> Dashboard:
    """An empty dashboard with the choice of clusters."""
    clusters = dashboard.QueryVariable("cluster").label("Cluster").datasource(SOURCE)
    clusters = clusters.query("label_values(freediv_link_up, cluster)").multi(True).include_all(True)
    clusters = clusters.refresh(VariableRefresh.ON_DASHBOARD_LOAD)
    made = Dashboard(title).uid(uid).description(description).tags(["freediv"]).refresh("10s").time("now-30m", "now")
    return made.with_variable(clusters).readonly()


def overview() -> Dashboard:
    """Who is up, what is asked, how long it takes."""
    asked = f"freediv_requests_total{{{HERE}}}"
    # A request is counted by all parties: party 0's count is that of the cluster.
    answered = f"freediv_request_seconds_bucket{{{HERE}, party='0'}}"
    panels = [
        state("Parties that answer", f'up{{{HERE}, job="party"}}', "party {{party}}", bad_below=1),
        state("Link", f"freediv_link_up{{{HERE}}}", "party {{party}}", bad_below=1),
        state("Replaced workers", f"freediv_worker_restarts_total{{{HERE}}}", "party {{party}}"),
        state(
            "What runs",
            f"count by (attention, activation, protocol, spu) (freediv_build_info{{{HERE}}})",
            "{{attention}}, {{activation}}, {{protocol}}, SPU {{spu}}",
        ),
        course(
            "Requests by how they ended",
            "reqpm",
            query(f"60 * sum by (outcome) (rate({asked[:-1]}, party='0'}}[$__rate_interval]))", "{{outcome}}"),
        ),
        course(
            "Seconds a request takes",
            "s",
            *quantiles(f"sum by (le) (rate({answered}[$__rate_interval]))"),
        ),
        course(
            "Bytes sent by each party",
            "Bps",
            query(f"sum by (party) (rate(freediv_layer_sent_bytes_total{{{HERE}}}[$__rate_interval]))", "{{party}}"),
            stacked=True,
        ),
        course(
            "Requests by how they ended, since the parties started",
            "short",
            query(f"sum by (outcome) ({asked[:-1]}, party='0'}})", "{{outcome}}"),
        ),
        course(
            "Requests that wait, and the most that may",
            "short",
            query(f"freediv_waiting_requests{{{HERE}}}", "party {{party}}"),
            query(f"min by (cluster) (freediv_waiting_requests_limit{{{HERE}}})", "the most, {{cluster}}"),
        ),
        course(
            "Requests turned away, by the limit",
            "reqpm",
            # Each party counts for itself, and one of them is enough to turn a request away.
            query(f"60 * max by (limit) (rate(freediv_turned_away_total{{{HERE}}}[$__rate_interval]))", "{{limit}}"),
        ),
        course(
            "Left of the budget that is spent most",
            "percentunit",
            query(f"min by (cluster) (freediv_least_budget_left_ratio{{{HERE}}})", "{{cluster}}"),
        ),
    ]
    return filled(page("freediv: overview", "freediv-overview", "Who is up, what is asked, how long it takes."), panels)


def layers() -> Dashboard:
    """What each layer costs."""

    def per_run(metric: str, by: str) -> str:
        """Of all parties together, for one run of the layer: a batch goes through it once."""
        runs = f"sum by ({by}) (increase(freediv_layer_seconds_count{{{HERE}, party='0'}}[$__range])) > 0"
        return f"sum by ({by}) (increase({metric}{{{HERE}}}[$__range])) / ({runs})"

    layer = "layer, block"
    sent = f"rate(freediv_layer_sent_bytes_total{{{HERE}}}[$__rate_interval])"
    seconds = f"rate(freediv_layer_seconds_sum{{{HERE}, party='0'}}[$__rate_interval])"
    build = "on (instance) group_left (attention, activation) freediv_build_info"
    conversion = "attention, activation, block"
    ran = f"sum by ({conversion}) (increase(freediv_layer_seconds_count{{{HERE}, party='0'}}[$__range]) * {build}) > 0"

    def beside(metric: str, where: str = "") -> str:
        """The same by conversion: what model ran is in the metric about the build."""
        total = f"sum by ({conversion}) (increase({metric}{{{HERE}{where}}}[$__range]) * {build})"
        return f"{total} / ({ran})"

    named = "{{block}}: {{attention}}, {{activation}}"
    slowest = per_run("freediv_layer_seconds_sum", layer).replace(f"{{{HERE}}}", f"{{{HERE}, party='0'}}", 1)
    panels = [
        bars("Bytes sent, for a run", "bytes", per_run("freediv_layer_sent_bytes_total", layer)),
        bars("Messages sent, for a run", "short", per_run("freediv_layer_messages_total", layer)),
        bars("Seconds, for a run", "s", slowest),
        course(
            "Bytes sent, by layer and block",
            "Bps",
            query(f"sum by ({layer}) ({sent})", "{{layer}} {{block}}"),
            stacked=True,
        ),
        course(
            "Seconds at work, by layer and block",
            "s",
            query(f"sum by ({layer}) ({seconds})", "{{layer}} {{block}}"),
            stacked=True,
        ),
        course(
            "Bytes sent, by party and block",
            "Bps",
            query(f"sum by (party, block) ({sent})", "party {{party}}, {{block}}"),
            stacked=True,
        ),
        course(
            "Layer's part of all bytes",
            "percentunit",
            query(f"freediv:layer_sent_bytes:part_of_all{{{HERE}, party='0'}}", "{{layer}} {{block}}"),
            stacked=True,
        ),
        bars("By conversion: bytes, for a run", "bytes", beside("freediv_layer_sent_bytes_total"), named),
        bars("By conversion: messages, for a run", "short", beside("freediv_layer_messages_total"), named),
        bars("By conversion: seconds, for a run", "s", beside("freediv_layer_seconds_sum", ", party='0'"), named),
    ]
    text = "What each layer and block costs. Choose several clusters to see one conversion beside another."
    return filled(page("freediv: cost by layer", "freediv-layers", text), panels)


def door() -> Dashboard:
    """What data owners' doors are asked, and what becomes of it."""

    def rate(metric: str, by: str = "") -> str:
        return f"sum by ({by}) (rate({metric}{{{HERE}}}[$__rate_interval]))"

    seconds, own = rate("freediv_door_request_seconds_bucket", "le"), rate("freediv_door_own_seconds_bucket", "le")
    panels = [
        state("Deployments that can be asked", f"freediv_door_replicas_up{{{HERE}}}", "{{model}}", bad_below=1),
        state("Texts that wait, or are under way", f"freediv_door_waiting_texts{{{HERE}}}", "{{model}}"),
        course(
            "Requests, by path and status",
            "reqpm",
            query(f"60 * {rate('freediv_door_requests_total', 'route, status')}", "{{route}} {{status}}"),
        ),
        course("Texts answered", "cpm", query(f"60 * {rate('freediv_door_texts_total', 'cluster')}", "{{cluster}}")),
        course(
            "Seconds a request takes",
            "s",
            *quantiles(seconds),
        ),
        course(
            "Of them, at the door itself",
            "s",
            *quantiles(own),
        ),
    ]
    return filled(
        page("freediv: door", "freediv-door", "What a data owner's door is asked, and what comes of it."), panels
    )


def filled(made: Dashboard, panels: list[Panel]) -> Dashboard:
    """A dashboard with panels."""
    for panel in panels:
        made = made.with_panel(panel)
    return made


def documents() -> dict[str, str]:
    """File name -> JSON."""
    made = {"overview.json": overview(), "layers.json": layers(), "door.json": door()}
    return {name: JSONEncoder(sort_keys=True, indent=2).encode(one.build()) + "\n" for name, one in made.items()}


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards"
    for name, text in documents().items():
        (directory / name).write_text(text, encoding="utf-8")
