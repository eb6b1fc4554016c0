"""The tables of a study, as data: what is in each, and what must be said beside it."""

import math
from collections.abc import Sequence
from statistics import median

from ablations.claims import Claim
from ablations.controlled import PERMUTED, Survival, is_about_content
from ablations.outcomes import Finding, pooled_over_datasets
from ablations.specification import Specification
from ablations.verdicts import EXACT, SAMPLED, fewest_seeds
from reports.numbers import Change, OnDataset, Result, Spread, change, counted, metric_title, seed_count
from reports.tables import Column, Number, Row, Table, show

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
                *(interval(spreads[metric][i], spreads[metric][i].mean == best[metric]) for metric in METRICS),
                result.seeds,
            ),
            notes_on(result),
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
    return Table(f"comparison-{group.slug}", caption, columns, tuple(rows), notes, context(group))


def ablation(group: OnDataset) -> Table:
    """Every variant against the full model, paired over seeds."""
    assert group.full is not None
    full = group.full
    metrics = (MAIN, "ndcg@20")
    rows = [Row((full.title, *_baseline(full, metrics), full.seeds), notes_on(full))]
    for variant in group.ablated:
        changes = [change(variant, full, metric) for metric in metrics]
        cells = [cell for found in changes for cell in _change(found)]
        pairs, wanted = len(changes[0].seeds) if changes[0] else 0, len(full.cell.entry.seeds)
        seeds = "skipped" if variant.cell.skipped else str(pairs) if pairs == wanted else f"{pairs} of {wanted}"
        rows.append(Row((variant.title, *cells, seeds), notes_on(variant)))
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
    return Table(f"ablation-{group.slug}", caption, tuple(columns), tuple(rows), notes, context(group))


def verdicts(findings: Sequence[Finding], groups: Sequence[OnDataset], survived: Sequence[Survival] = ()) -> Table:
    """Every claim on every data set; where some claim was run under permuted content, what became of each gain."""
    by_card = {group.card: group for group in groups}
    permuted = {(each.claim, each.card): each for each in survived if each.control == PERMUTED}
    rows = []
    for found in findings:
        claim, effect, group = found.claim, found.effect, by_card[found.card]
        notes = [proxy_note(found.proxies)] if found.proxies else []
        if len(found.devices) > 1:
            notes.append(f"the runs were made on different devices: {', '.join(found.devices)}")
        if found.unequal:
            notes.append(found.unequal)
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
                    *([under_permuted_content(claim, permuted.get((claim, found.card)))] if permuted else []),
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
        *([Column("under permuted content", width=3.5)] if permuted else []),
        Column("source", width=3.5),
    )
    protocols = "; ".join(dict.fromkeys(f"{group.label}: {group.protocol}" for group in groups))
    seeds = counted(sorted({found.effect.seeds for found in findings if found.effect}))
    caption = f"Verdicts on the claims, on test; {protocols}; {seeds}."
    below = (
        "Effect: better side minus worse side of the claim, paired over seeds, relative to the worse side's mean; in"
        f" brackets the 95 % interval. p: sign-flip test, exact up to {EXACT} seeds (beyond, {SAMPLED:,} flips"
        " are drawn), after Holm's correction within the claim's family. Needed: the fewest seeds with which that"
        " test can reach 5 %.",
        *_families(findings),
        "For new users too: the same effect with the crossed seeds x users interval, which asks whether it would hold"
        " for other users like these; it has no part in the verdict, which concerns these users.",
        *(
            (
                "Under permuted content: the same gain where every item has the content of another. What survives there"
                " is not a content effect. Words are for supported claims, from as many seeds as the verdict needs;"
                " they follow 95 % intervals that are not corrected.",
            )
            if permuted
            else ()
        ),
    )
    return Table("verdicts", caption, columns, tuple(rows), below, (("protocol", protocols),))


def _families(findings: Sequence[Finding]) -> list[str]:
    """Families of which this study tests a part: the correction is for that part."""
    sizes = dict.fromkeys((found.claim.family, found.family, found.listed) for found in findings)
    parts = [f"{tested} of the {listed} claims of {family}" for family, tested, listed in sizes if tested < listed]
    return [f"Corrected are the claims that the study makes and can test here: {', '.join(parts)}."] if parts else []


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
        "Only ratios are pooled: the mean of log(better / worse), each data set counting once however many seeds it"
        " has, with the 95 % interval of Student's t over data sets, from three on. Synthetic ones are left out beside"
        " real ones. No verdict follows from it.",
    )
    caption = "Claims tested on two data sets or more: the relative effect on average over them."
    return Table("over-datasets", caption, columns, tuple(rows), notes) if rows else None


def under_permuted_content(claim: Claim, survival: Survival | None) -> str:
    """A claim's gain when every item has the content of another, and what became of it."""
    if survival is None:
        return "does not apply: the claim is about a control" if is_about_content(claim) else "not run"
    column = Column("", 1, interval=True, signed=True, percent=True)
    number = show(column, Number(survival.under.relative, *survival.under.relative_interval()))
    verdict = f"{survival.on_content}; " if survival.on_content else ""
    return f"{number}, {counted([len(survival.seeds)])}: {verdict}{survival.meaning}"


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
    for result in group.plain:
        provenances = [record.provenance for record in result.records]
        results = [record.result for record in result.records]
        seconds = [p.get("cpu_seconds", p["seconds"]) if p["device"] == "cpu" else p["seconds"] for p in provenances]
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
        rows.append(Row((result.title, *cells, result.seeds), notes_on(result)))
    columns = (
        Column("model"),
        Column("parameters", 0),
        Column("seconds per epoch", 2),
        Column("epochs to best", 0),
        Column("epochs run", 0),
        Column("seconds in all", 1),
        Column("memory, MiB", 0),
        Column("GPU memory, MiB", 0),
        Column("device"),
        Column("seeds"),
    )
    processors = sorted({r.provenance["processor"] for result in group.plain for r in result.records})
    notes = (
        "Memory: peak of the whole process. Seconds: on a CPU, of processor time (of the clock in records that lack"
        " it), else of the clock. Runs may have shared a machine.",
        *([f"Processors: {', '.join(processors)}."] if processors else []),
    )
    caption = f"Cost on {group.label}: medians over seeds; {group.protocol}; {seed_count(group.plain)}."
    return Table(f"cost-{group.slug}", caption, columns, tuple(rows), notes, context(group))


def proxy_words(results: Sequence[Result]) -> str:
    """The proxies that the runs of these entries read: "proxy features: image", or nothing."""
    names = sorted({name for result in results for name in result.proxies})
    return f"proxy features: {', '.join(names)}" if names else ""


def interval(spread: Spread, best: bool = False) -> Number:
    """The mean with its interval."""
    return Number(spread.mean, spread.mean - spread.half, spread.mean + spread.half, best)


def _baseline(full: Result, metrics: Sequence[str]) -> list[Number]:
    return [number for metric in metrics for number in (Number(full.spread(metric).mean), NONE, NONE)]


def _change(found: Change | None) -> tuple[Number, Number, Number]:
    if found is None:
        return NONE, NONE, NONE
    effect = found.effect
    relative = Number(effect.relative, *effect.relative_interval())
    return Number(effect.better), Number(effect.difference), relative


def _median(values: Sequence[float]) -> Number:
    return Number(median(values)) if values else NONE


def notes_on(result: Result, runs: Sequence[Specification] | None = None) -> tuple[str, ...]:
    """What readers must know of an entry's numbers (or, with `runs`, of these runs of it)."""
    if result.cell.skipped:
        return (f"skipped: {result.cell.skipped}",)
    if runs is not None:
        proxies = sorted({name for run in runs for name in result.store.read(run.run_id).result["proxies"]})
        return (proxy_note(proxies),) if proxies else ()
    notes = []
    if result.cell.winner(result.store) is None:
        notes.append("waits for the search over its grid")
    if result.proxies:
        notes.append(proxy_note(result.proxies))
    if result.runs and not result.seeded:
        notes.append("only counts: the same for every seed, so no interval")
    elif len(result.runs) == 1:
        notes.append("one seed: no interval")
    if result.cut:
        limit = result.cell.entry.training.max_epochs
        notes.append(
            f"stopped at the limit of {limit} epochs, in one seed at least, before validation stopped improving"
        )
    return tuple(notes)


def proxy_note(proxies: Sequence[str]) -> str:
    """The note on a row whose runs read proxies."""
    return f"proxy features (known substitutes of the originals): {', '.join(proxies)}"


def _mixed(results: Sequence[Result]) -> tuple[str, ...]:
    """Numbers of different devices are not the same to the last digit."""
    devices = sorted({device for result in results for device in result.devices})
    return (f"The runs were made on different devices: {', '.join(devices)}.",) if len(devices) > 1 else ()


def context(group: OnDataset) -> tuple[tuple[str, str], ...]:
    """What holds for all rows of a table on one data set."""
    return (("data set", group.label), ("content hash", group.card.content_hash[:8]), ("protocol", group.protocol))
