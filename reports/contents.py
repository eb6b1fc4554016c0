"""The tables of a study, as data: what is in each, and what must be said beside it."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from ablations.outcomes import Finding, pooled_over_datasets
from ablations.specification import Specification
from ablations.verdicts import fewest_seeds
from reports.numbers import Change, OnDataset, Result, Spread, change, counted, metric_title, seed_count
from reports.tables import Column, Number, Row, Table

METRICS = ("recall@10", "recall@20", "precision@20", "ndcg@20", "ndcg_lattice@20", "mrr@20")
MAIN = "recall@20"  # the metric of the figures and of the selection gap
NONE = Number(math.nan)


def comparison(group: OnDataset) -> Table:
    """The full model and its competitors, on test."""
    spreads = {metric: [result.spread(metric) for result in group.compared] for metric in METRICS}
    best = {m: max((s.mean for s in spreads[m] if s.values), default=math.nan) for m in METRICS}
    rows = [
        Row(
            (
                result.title,
                *(_spread(spreads[metric][i], spreads[metric][i].mean == best[metric]) for metric in METRICS),
                result.seeds,
            ),
            _notes(result),
        )
        for i, result in enumerate(group.compared)
    ]
    caption = (
        f"Test metrics on {group.label}: mean ± half of the 95 % interval over seeds; {group.protocol};"
        f" {seed_count(group.compared)}."
    )
    columns = (
        Column("model"),
        *(Column(metric_title(m), 5 if m.startswith("precision") else 4, interval=True) for m in METRICS),
        Column("seeds"),
    )
    notes = ("Bold: the best mean of the column, whether or not its lead is settled.", *_mixed(group.compared))
    return Table(f"comparison-{group.slug}", caption, columns, tuple(rows), notes, _context(group))


def ablation(group: OnDataset) -> Table:
    """Every variant against the full model, paired over seeds."""
    assert group.full is not None
    full = group.full
    metrics = (MAIN, "ndcg@20")
    rows = [Row((full.title, *_baseline(full, metrics), full.seeds), _notes(full))]
    for variant in group.ablated:
        changes = [change(variant, full, metric) for metric in metrics]
        cells = [cell for found in changes for cell in _change(found)]
        pairs, wanted = len(changes[0].seeds) if changes[0] else 0, len(full.cell.entry.seeds)
        seeds = "skipped" if variant.cell.skipped else str(pairs) if pairs == wanted else f"{pairs} of {wanted}"
        rows.append(Row((variant.title, *cells, seeds), _notes(variant)))
    columns: list[Column] = [Column("variant")]
    for metric in metrics:
        title = metric_title(metric)
        columns += [
            Column(title, 4),
            Column(f"{title} change", 4, signed=True),
            Column(f"{title} relative change", 1, interval=True, signed=True, percent=True),
        ]
    words = proxy_words((full, *group.ablated))
    caption = (
        f"What each part contributes on {group.label}, on test: variant minus {full.title}, paired over seeds;"
        f" {group.protocol}; {seed_count((full, *group.ablated))}" + (f"; {words}." if words else ".")
    )
    notes = (
        "A negative change: the model is worse without the part. Relative to the full model's mean; in brackets the"
        " 95 % interval over seeds.",
        *_mixed((full, *group.ablated)),
    )
    columns.append(Column("seeds"))
    return Table(f"ablation-{group.slug}", caption, tuple(columns), tuple(rows), notes, _context(group))


def verdicts(findings: Sequence[Finding], groups: Sequence[OnDataset]) -> Table:
    """Every claim on every data set."""
    by_card = {group.card: group for group in groups}
    rows = []
    for found in findings:
        claim, effect, group = found.claim, found.effect, by_card[found.card]
        notes = [_proxy_note(found.proxies)] if found.proxies else []
        if len(found.devices) > 1:
            notes.append(f"the runs were made on different devices: {', '.join(found.devices)}")
        rows.append(
            Row(
                (
                    f"{claim.sentence} ({claim.name})",
                    group.label,
                    found.verdict.word,
                    metric_title(claim.metric),
                    NONE if effect is None else Number(effect.relative, *effect.relative_interval()),
                    NONE if effect is None else Number(effect.relative, *found.for_new_users()),
                    f"{effect.seeds if effect else 0} / {fewest_seeds(found.family)}",
                    NONE if effect is None else Number(found.verdict.p),
                    found.verdict.reason,
                    claim.source,
                ),
                tuple(notes),
            )
        )
    columns = (
        Column("claim", width=5.5),
        Column("data set"),
        Column("verdict"),
        Column("metric"),
        Column("relative effect", 1, interval=True, signed=True, percent=True),
        Column("for new users too", 1, interval=True, signed=True, percent=True),
        Column("seeds / needed"),
        Column("p (Holm)", 3),
        Column("why", width=3.5),
        Column("source", width=3.5),
    )
    protocols = "; ".join(dict.fromkeys(f"{group.label}: {group.protocol}" for group in groups))
    seeds = counted(sorted({found.effect.seeds for found in findings if found.effect}))
    caption = f"Verdicts on the claims, on test; {protocols}; {seeds}."
    below = (
        "Effect: better side minus worse side of the claim, paired over seeds, relative to the worse side's mean; in"
        " brackets the 95 % interval. p: exact sign-flip test after Holm's correction within the claim's family."
        " Needed: the fewest seeds with which that test can reach 5 %.",
        "For new users too: the same effect with the crossed seeds x users interval, which asks whether it would hold"
        " for other users like these; it has no part in the verdict, which concerns these users.",
    )
    return Table("verdicts", caption, columns, tuple(rows), below, (("protocol", protocols),))


def over_datasets(findings: Sequence[Finding]) -> Table | None:
    """The relative effect of each claim on average over data sets; None where no claim was tested on two."""
    means = pooled_over_datasets(findings)
    claims = dict.fromkeys(found.claim for found in findings if found.claim.name in means)
    rows = []
    for claim in claims:
        mean = means[claim.name]
        number = Number(mean.relative, mean.low, mean.high)
        rows.append(Row((f"{claim.sentence} ({claim.name})", metric_title(claim.metric), str(mean.datasets), number)))
    columns = (
        Column("claim", width=7.0),
        Column("metric"),
        Column("data sets"),
        Column("mean relative effect", 1, interval=True, signed=True, percent=True),
    )
    notes = (
        "Only ratios are pooled: the mean of log(better / worse), each data set counting once, with the 95 % interval"
        " of Student's t over data sets. No verdict follows from it.",
    )
    caption = "Claims tested on two data sets or more: the relative effect on average over them."
    return Table("over-datasets", caption, columns, tuple(rows), notes) if rows else None


def selection(group: OnDataset) -> Table:
    """What the search over a grid chose, and what choosing on test would have claimed."""
    rows = []
    for result in _searched(group):
        cell, store = result.cell, result.store
        winner = cell.winner(store)
        tried = f"{len(cell.grid)} points, {counted([len(cell.entry.grid_seeds)])}"
        if winner is None:
            done = sum(run.run_id in store for run in cell.candidates())
            waiting = f"waits for the search: {done} of {len(cell.candidates())} runs have records"
            rows.append(Row((result.title, tried, "–", NONE, "–", NONE, NONE, NONE), (waiting,)))
            continue
        on_test = [_grid_score(result, point, MAIN, "test") for point in cell.grid]
        best = max(range(len(on_test)), key=lambda i: (on_test[i], i == winner))
        gap = on_test[best] - on_test[winner]
        points = cell.entry.points
        relative = gap / on_test[winner] if on_test[winner] else math.nan
        cells = (_point(points[winner]), Number(on_test[winner]), _point(points[best]), Number(on_test[best]))
        rows.append(Row((result.title, tried, *cells, Number(gap), Number(relative)), _notes(result)))
    columns = (
        Column("model"),
        Column("search"),
        Column("chosen on validation", width=4),
        Column("test Recall@20, chosen", 4),
        Column("best on test", width=4),
        Column("test Recall@20, best", 4),
        Column("selection gap", 4, signed=True),
        Column("relative gap", 1, signed=True, percent=True),
    )
    caption = (
        f"Selection on {group.label}: the grid point chosen on validation beside the one that choosing on test would"
        f" have taken, test Recall@20 of both, means over the grid seeds; {group.protocol}."
    )
    notes = ("Selection gap: by how much a result chosen on test would have been too good.",)
    return Table(f"selection-{group.slug}", caption, columns, tuple(rows), notes, _context(group))


def grid(group: OnDataset) -> Table:
    """Every point of every search."""
    rows = []
    for result in _searched(group):
        winner = result.cell.winner(result.store)
        metric = result.cell.entry.training.select_by
        for i, (point, runs) in enumerate(zip(result.cell.entry.points, result.cell.grid, strict=True)):
            done = [run for run in runs if run.run_id in result.store]
            cells = (
                result.title,
                _point(point),
                metric_title(metric),
                Number(_grid_score(result, done, metric, "validation")),
                Number(_grid_score(result, done, MAIN, "test")),
                str(len(runs)) if len(done) == len(runs) else f"{len(done)} of {len(runs)}",
                "chosen" if i == winner else "",
            )
            rows.append(Row(cells, _notes(result, runs=done)))
    columns = (
        Column("model"),
        Column("point"),
        Column("selected by"),
        Column("validation", 4),
        Column("test Recall@20", 4),
        Column("grid seeds"),
        Column("winner"),
    )
    caption = f"Every grid point tried on {group.label}: means over the grid seeds; {group.protocol}."
    return Table(f"grid-{group.slug}", caption, columns, tuple(rows), (), _context(group))


def datasets(groups: Sequence[OnDataset]) -> Table:
    """What the runs were made on."""
    rows = []
    for group in groups:
        card = group.card
        modalities = "; ".join(
            f"{m.name} ({m.origin}, {f'{m.width} numbers' if m.width else 'no features'}"
            f"{f', {m.neighbours} neighbours' if m.neighbours else ''})"
            for m in card.modalities
        )
        sizes = (card.users, card.items, card.train, card.validation, card.test)
        numbers = [Number(size) for size in sizes]
        rows.append(Row((group.label, card.origin, *numbers, card.split, modalities or "none", card.content_hash[:8])))
    columns = (
        Column("data set"),
        Column("origin"),
        *(Column(title, 0) for title in ("users", "items", "train", "validation", "test")),
        Column("split"),
        Column("modalities", width=6),
        Column("content hash"),
    )
    notes = (
        "Train, validation, test: interactions. Content hash: the head of the SHA-256 over interactions, split and"
        " modalities.",
    )
    return Table("datasets", "The data sets.", columns, tuple(rows), notes)


def cost(group: OnDataset) -> Table:
    """What the runs took: medians over seeds."""
    rows = []
    for result in group.results:
        provenances = [record.provenance for record in result.records]
        results = [record.result for record in result.records]
        seconds = [provenance["seconds"] for provenance in provenances]
        cells = (
            _median([r["parameters"] for r in results]),
            _median([s["epoch"] for s in seconds if "epoch" in s]),
            _median([r["best_epoch"] for r in results if result.learned]),
            _median([r["epochs"] for r in results if result.learned]),
            _median([s["total"] for s in seconds]),
            _median([p["peak_memory_mb"] for p in provenances]),
            _median([p["peak_gpu_memory_mb"] for p in provenances if p["peak_gpu_memory_mb"] is not None]),
            ", ".join(result.devices) or "–",
        )
        rows.append(Row((result.title, *cells, result.seeds), _notes(result)))
    columns = (
        Column("model"),
        Column("parameters", 0),
        Column("seconds per epoch", 2),
        Column("best epoch", 0),
        Column("epochs run", 0),
        Column("seconds in all", 1),
        Column("memory, MiB", 0),
        Column("GPU memory, MiB", 0),
        Column("device"),
        Column("seeds"),
    )
    processors = sorted({r.provenance["processor"] for result in group.results for r in result.records})
    notes = (
        "Memory: peak of the whole process. Times are those of the recorded runs, which may have shared a machine.",
        *([f"Processors: {', '.join(processors)}."] if processors else []),
    )
    caption = f"Cost on {group.label}: medians over seeds; {group.protocol}; {seed_count(group.results)}."
    return Table(f"cost-{group.slug}", caption, columns, tuple(rows), notes, _context(group))


def searched(groups: Sequence[OnDataset]) -> bool:
    """Whether any entry has a grid."""
    return any(_searched(group) for group in groups)


def proxy_words(results: Sequence[Result]) -> str:
    """The proxies that the runs of these entries read: "proxy features: image", or nothing."""
    names = sorted({name for result in results for name in result.proxies})
    return f"proxy features: {', '.join(names)}" if names else ""


def _searched(group: OnDataset) -> list[Result]:
    return [result for result in group.results if result.cell.grid]


def _spread(spread: Spread, best: bool) -> Number:
    return Number(spread.mean, spread.mean - spread.half, spread.mean + spread.half, best)


def _baseline(full: Result, metrics: Sequence[str]) -> list[Number]:
    return [number for metric in metrics for number in (Number(full.spread(metric).mean), NONE, NONE)]


def _change(found: Change | None) -> tuple[Number, Number, Number]:
    if found is None:
        return NONE, NONE, NONE
    effect = found.effect
    relative = Number(effect.relative, *effect.relative_interval())
    return Number(effect.better), Number(effect.difference), relative


def _grid_score(result: Result, runs: Sequence[Specification], metric: str, split: str) -> float:
    scores = [result.store.metric(run.run_id, metric, split) for run in runs]
    return sum(scores) / len(scores) if scores else math.nan


def _point(point: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in point.items())


def _median(values: Sequence[float]) -> Number:
    return Number(median(values)) if values else NONE


def _notes(result: Result, runs: Sequence[Specification] | None = None) -> tuple[str, ...]:
    """What readers must know of an entry's numbers (or, with `runs`, of these runs of it)."""
    if result.cell.skipped:
        return (f"skipped: {result.cell.skipped}",)
    if runs is not None:
        proxies = sorted({name for run in runs for name in result.store.read(run.run_id).result["proxies"]})
        return (_proxy_note(proxies),) if proxies else ()
    notes = []
    if result.cell.winner(result.store) is None:
        notes.append("waits for the search over its grid")
    if result.proxies:
        notes.append(_proxy_note(result.proxies))
    if result.runs and not result.learned:
        notes.append("only counts: the same for every seed, so no interval")
    elif len(result.runs) == 1:
        notes.append("one seed: no interval")
    if result.cut:
        limit = result.cell.entry.training.max_epochs
        notes.append(
            f"stopped at the limit of {limit} epochs, in one seed at least, before validation stopped improving"
        )
    return tuple(notes)


def _proxy_note(proxies: Sequence[str]) -> str:
    return f"proxy features (known substitutes of the originals): {', '.join(proxies)}"


def _mixed(results: Sequence[Result]) -> tuple[str, ...]:
    """Numbers of different devices are not the same to the last digit."""
    devices = sorted({device for result in results for device in result.devices})
    return (f"The runs were made on different devices: {', '.join(devices)}.",) if len(devices) > 1 else ()


def _context(group: OnDataset) -> tuple[tuple[str, str], ...]:
    return (("data set", group.label), ("content hash", group.card.content_hash[:8]), ("protocol", group.protocol))
