"""A stand-in of the Datadog API over real HTTP. It is not Datadog: what passes here has met no Datadog account.

It takes the calls that provisioning makes: keys, monitors, dashboards and SLOs (v1), metric tag configurations, monitor
notification rules, downtimes, the current user and its permissions (v2); and queries of one metric over time (v1).
Every request body must be one that the models of datadog-api-client read to the last field; unknown fields and values
are refused, more strictly than the real API does. Then come the rules below.

Documented, in the published OpenAPI description and the product's documentation: parameters, page sizes and limits;
permissions per call; PUT of a monitor leaves alone the top-level fields that aren't sent; compulsory tags; team tags of
dashboards; reflow and layouts; SLO shapes; tag lists as allow-lists, `exclude_tags_mode`; notification rule limits;
the query grammar; of downtimes the envelope, the two forms of identifier and of schedule, how many tags and
recurrences, moments with and without an offset, what a scope can't say, and that they are listed after they were
canceled; of metric queries the parameters and fields of the answer, buckets that are aligned to the clock and
stamped with their start, the one left out that begins before the period, the length of buckets that nobody sets, sums
as counts.

Recorded, in public recordings of the API's traffic and in public reports that quote its answers: the words of most
refusals (duplicates, thresholds, recovery, service check windows, burn rates, tags, template variables, unseen metrics,
recipients, missing permissions, 404, 429); the fields that the server adds to monitors, dashboards, SLOs and rules;
floats for thresholds; "98." for the display of an SLO's target; `metric alert` and `query alert` taking each other's
place; options of a monitor replaced as a whole; tags coming back in another order; rate limits of SLOs and tag
configurations; five duplicate creates in ten minutes; of downtimes the fields and defaults that the server adds, that a
PATCH leaves alone what isn't sent, that one may be canceled twice, and that a start in the past, a duplicate, a new
start of one that is under way, and two time zones are refused, with these words.

Believed, where no source was found: what makes two monitors identical (type, name, query, message, options and tags);
that unknown recipients are refused at all, which happens only where a test sets who exists; that `notify_no_data` and
`on_missing_data` exclude each other, and that `threshold_windows` is for anomalies alone; the words about these, about
changed types, references, `notify_by`, warnings on the wrong side, limits of numbers, rules, impossible SLOs, and tag
configurations that are missing or misused; that an attribute left out of a PATCH keeps its value in a tag
configuration; which downtimes are duplicates, that no other schedule but a new end is taken for one that is under way,
that the two forms of schedule don't change into each other, that one that is over can't be changed, and the words about
these; that PUT replaces SLOs and dashboards as a whole; which of `metric alert` and `query alert` a query becomes; that
a series without a tag that a query groups by has the value N/A there, and the words about a query that can't be read.
Calls whose rate limit is not named above have none unless a test sets one.
"""

from __future__ import annotations

from .account import Metric, Point, Policy, Refusal, Reply, State
from .faults import Call, Fault, Faults
from .limits import Limit, Limits
from .server import Standin

__all__ = [
    "Call",
    "Fault",
    "Faults",
    "Limit",
    "Limits",
    "Metric",
    "Point",
    "Policy",
    "Refusal",
    "Reply",
    "Standin",
    "State",
]
