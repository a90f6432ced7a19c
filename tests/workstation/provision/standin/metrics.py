"""Tag configurations of metrics, v2. `tags` is an allow-list of tag keys: whatever it leaves out can't be queried."""

from __future__ import annotations

from .account import Account, Json, Metric, Refusal, Reply, Request, now
from .routes import operation

PATH = "/api/v2/metrics/{metric_name}/tags"


def _metric(account: Account, request: Request) -> Metric:
    return account.state.metrics.get(request.path["metric_name"], Metric())


def _answer(request: Request, configuration: Json) -> Json:
    # The order of tags is not kept.
    attributes = {**configuration, "tags": sorted(configuration["tags"])}
    return {"data": {"type": "manage_tags", "id": request.path["metric_name"], "attributes": attributes}}


@operation("GET", PATH, "ListTagConfigurationByName", "metrics_read")
def get(account: Account, request: Request) -> Json:
    configuration = _metric(account, request).configuration
    if configuration is None:
        raise Refusal(404, "Not Found")
    return _answer(request, configuration)


@operation(
    "POST",
    PATH,
    "CreateTagConfiguration",
    "metric_tags_write",
    body="v2.metric_tag_configuration_create_request.MetricTagConfigurationCreateRequest",
)
def create(account: Account, request: Request) -> Reply:
    name = request.path["metric_name"]
    attributes = _attributes(request)
    metric = account.state.metrics.get(name)
    if metric is None:
        if account.policy.metrics_must_exist:
            raise Refusal(400, "Cannot configure tags on a metric that does not exist.")
        metric = account.state.metrics[name] = Metric(attributes.get("metric_type", "gauge"))
    if metric.configuration is not None:
        kind = "distribution" if metric.kind == "distribution" else "gauge/count/rate"
        raise Refusal(409, f"New {kind} conflicts with existing tag configuration, use PATCH to update")
    if attributes.get("metric_type") != metric.kind:
        raise Refusal(400, f"metric_type is {attributes.get('metric_type')}, but {name} is a {metric.kind}")
    moment = now()
    configuration = {"include_percentiles": False, "created_at": moment, "updated_at": moment, **attributes}
    _check(account, metric, configuration)
    metric.configuration = configuration
    return Reply(201, _answer(request, configuration))


@operation(
    "PATCH",
    PATH,
    "UpdateTagConfiguration",
    "metric_tags_write",
    body="v2.metric_tag_configuration_update_request.MetricTagConfigurationUpdateRequest",
)
def update(account: Account, request: Request) -> Json:
    """Attributes that aren't sent stay."""
    metric = _metric(account, request)
    attributes = _attributes(request)
    if metric.configuration is None:
        raise Refusal(422, f"{request.path['metric_name']} has no tag configuration, use POST to create one")
    if "exclude_tags_mode" in attributes and "tags" not in attributes:
        raise Refusal(400, "exclude_tags_mode requires tags")
    changed = {**metric.configuration, **attributes, "updated_at": now()}
    _check(account, metric, changed)
    metric.configuration = changed
    return _answer(request, changed)


@operation("DELETE", PATH, "DeleteTagConfiguration", "metric_tags_write")
def delete(account: Account, request: Request) -> Reply:
    metric = _metric(account, request)
    if metric.configuration is None:
        raise Refusal(404, "Not Found")
    metric.configuration = None
    return Reply(204, None)


@operation("GET", "/api/v2/metrics/{metric_name}/all-tags", "ListTagsByMetricName", "metrics_read")
def all_tags(account: Account, request: Request) -> Json:
    """Tags that queries may use, and those that were sent but that the configuration hides. A metric that was never
    seen has none."""
    metric = _metric(account, request)
    request.number("window[seconds]", low=14400)
    wanted = request.query.get("filter[match]", "")
    limit = request.number("page[limit]", 1_000_000, low=1, high=1_000_000)
    tags = [tag for tag in metric.queryable() if wanted in tag]
    hidden = [tag for tag in metric.tags if wanted in tag and tag not in tags]
    if request.query.get("filter[include_tag_values]", "true").lower() == "false":
        tags, hidden = (sorted({tag.partition(":")[0] for tag in some}) for some in (tags, hidden))
    attributes = {"tags": tags[:limit], "ingested_tags": hidden[:limit]}
    return {"data": {"type": "metrics", "id": request.path["metric_name"], "attributes": attributes}}


def _attributes(request: Request) -> Json:
    data = request.body["data"]
    if data["id"] != request.path["metric_name"]:
        raise Refusal(400, f"the id {data['id']} is not the metric of the path")
    return dict(data.get("attributes") or {})


def _check(account: Account, metric: Metric, configuration: Json) -> None:
    if not configuration["tags"] and not account.policy.empty_tag_lists:
        raise Refusal(400, "Invalid tags: at least one tag is needed")
    if configuration["include_percentiles"] and metric.kind != "distribution":
        raise Refusal(400, "include_percentiles is only for distributions")
    if any(":" in tag or not tag for tag in configuration["tags"]):
        raise Refusal(400, "tags are keys, without values")
