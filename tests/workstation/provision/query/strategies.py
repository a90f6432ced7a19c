"""Every tree that a query can stand for, for tests of properties."""

from __future__ import annotations

from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.provision.query import tree

WORDS = {"and", "or", "not", "in", "by", "threshold"}
words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda word: word.lower() not in WORDS)
metric_names = st.lists(words, min_size=1, max_size=4).map(".".join)
numbers = st.from_regex(r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?", fullmatch=True)
thresholds = st.tuples(st.sampled_from(["", "-"]), numbers).map("".join)
windows = st.sampled_from(["last_5m", "last_4h", "last_1d", "current_1mo", "next_1w"])
lengths = st.sampled_from(["5m", "1h", "48h", "7d", "30d"])
characters = st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"], exclude_characters="\"'\\")
texts = st.text(characters, max_size=12)
values = st.from_regex(r"\*?[A-Za-z0-9_][A-Za-z0-9_:./-]{0,10}\*?", fullmatch=True)
keys = st.from_regex(r"[a-z][a-z0-9_./-]{0,8}", fullmatch=True).filter(lambda key: key.lower() not in WORDS)

leaves = st.one_of(
    st.just(tree.Everything()),
    st.builds(tree.Tag, keys, st.none() | values),
    st.builds(tree.Variable, words),
    st.builds(tree.In, keys, st.lists(values, min_size=1, max_size=3).map(tuple), st.booleans()),
)


def _several(parts: st.SearchStrategy[tree.Condition]) -> st.SearchStrategy[tuple[tree.Condition, ...]]:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


conditions = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.builds(tree.Not, parts, st.booleans()),
        st.builds(tree.And, _several(parts), st.just(False)),
        st.builds(tree.Or, _several(parts)),
    ),
    max_leaves=6,
)
scopes = conditions | st.builds(tree.And, _several(conditions), st.just(True)) | st.just(tree.Everything(empty=True))

plain = st.one_of(st.builds(tree.Number, numbers), st.builds(tree.Text, texts), st.builds(tree.Name, words))
method = st.builds(tree.Method, words, st.lists(plain, max_size=3).map(tuple))
methods = st.lists(method, max_size=2).map(tuple)
metrics = st.builds(
    tree.Metric,
    st.sampled_from(["", "avg", "sum", "p99"]),
    metric_names,
    scopes,
    st.lists(st.builds(tree.By, words), max_size=3).map(tuple),
    methods,
) | st.builds(
    tree.Metric,
    st.just("count"),
    metric_names,
    scopes,
    condition=st.tuples(st.sampled_from(["<", ">="]), numbers).map("".join),
)


def _below(parts: st.SearchStrategy[tree.Expression]) -> st.SearchStrategy[tree.Expression]:
    regrouping = st.builds(tree.Regrouping, st.lists(st.builds(tree.By, words), min_size=1, max_size=2).map(tuple))
    argument = parts | plain | st.builds(tree.Setting, words, plain) | regrouping
    calls = st.builds(tree.FunctionCall, words, st.lists(argument, max_size=3).map(tuple))
    return st.one_of(
        calls,
        st.builds(tree.Chain, calls, st.lists(method, min_size=1, max_size=2).map(tuple)),
        st.builds(tree.Negative, parts),
        st.builds(tree.Operation, st.sampled_from("+-*/"), parts, parts),
    )


expressions = st.recursive(st.one_of(metrics, st.builds(tree.Number, numbers)), _below, max_leaves=6)
formulas = st.recursive(
    st.one_of(st.builds(tree.Name, words), st.builds(tree.Number, numbers)),
    lambda parts: st.one_of(
        st.builds(tree.FunctionCall, words, st.lists(parts, max_size=2).map(tuple)),
        st.builds(tree.Operation, st.sampled_from("+-*/"), parts, parts),
    ),
    max_leaves=5,
)
comparisons = st.builds(tree.Comparison, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), thresholds)
quoted = st.builds(tree.Text, texts)
tags = st.lists(quoted, max_size=2).map(tuple)
references = st.builds(
    tree.Monitor, st.from_regex(r"[1-9][0-9]{0,8}", fullmatch=True) | keys.map("${{monitor:{}}}".format)
)
composites = st.recursive(
    references,
    lambda parts: st.one_of(
        st.builds(tree.Not, parts), st.builds(tree.And, _several(parts)), st.builds(tree.Or, _several(parts))
    ),
    max_leaves=6,
)
monitors = st.one_of(
    st.builds(
        tree.MetricMonitor,
        st.sampled_from(["avg", "sum", "min", "max", "percentile"]),
        st.builds(tree.Window, windows),
        expressions,
        comparisons,
    ),
    st.builds(
        tree.MetricMonitor,
        st.just("avg"),
        st.builds(tree.Window, windows),
        expressions,
        comparisons,
        change=st.sampled_from(["change", "pct_change"]),
        shift=st.builds(tree.Window, st.sampled_from(["last_1d", "1h_ago"])),
    ),
    st.builds(
        tree.FormulaMonitor, formulas, st.builds(tree.Window, lengths), comparisons, rollup=st.sampled_from(["", "sum"])
    ),
    st.builds(
        tree.ServiceCheckMonitor,
        metric_names,
        tags,
        tags,
        tags,
        st.none() | st.integers(0, 100),
        st.sampled_from(["count_by_status", "pct_by_status"]),
    ),
    st.builds(
        tree.SloMonitor,
        st.just("burn_rate"),
        quoted,
        st.builds(tree.Text, lengths),
        st.builds(tree.Text, lengths),
        st.builds(tree.Text, lengths),
        comparisons,
    ),
    st.builds(
        tree.SloMonitor,
        st.just("error_budget"),
        quoted,
        st.builds(tree.Text, lengths),
        st.none(),
        st.none(),
        comparisons,
    ),
    st.builds(
        tree.EventMonitor,
        st.sampled_from(["source:model_serving change:*", "tags:(a OR b)", "*"]),
        st.just("count"),
        st.lists(st.builds(tree.Text, st.sampled_from(["endpoint_name", "change"])), max_size=2).map(tuple),
        st.builds(tree.Window, lengths.map("last_{}".format)),
        comparisons,
    ),
    st.builds(tree.CompositeMonitor, composites),
)
