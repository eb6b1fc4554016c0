"""From the result of `tmfun bench` to tables; every number in the tables of docs/performance.md passes through here."""

import re
from collections.abc import Callable, Iterable

from ablations.speed.bench import BABY, ELECTRONICS, KNN, LIKE_BABY, MILLION, Result

Times = dict[str, float]
GB = 1e9


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    cells = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])


def clock_of(result: Result) -> str:
    """Which of the two times counts: the processor's, but the clock's where a GPU does the work."""
    return "clock" if result["machine"]["gpu"] else "cpu"


def models(result: Result) -> str:
    """Models beside their plain references and beside the floor."""
    which = clock_of(result)
    rows = []
    for row in result["models"]:
        name = f"{row['title']}, {row['dataset'].partition('[')[0]}"
        reason = row.get("skipped") or row["fast"].get("failure")
        if reason:
            rows.append([name, reason, *["–"] * 10])
            continue
        fast, slow = row["fast"], row["plain"]
        floor = _floor(fast, result["roofs"])
        rows.append(
            [
                name,
                *_beside(fast, slow, "epoch", which),
                _seconds(fast["loose"][which]) if "loose" in fast else "–",
                _seconds(floor) if floor else "–",
                f"{fast['epoch'][which] / floor:.1f}" if floor else "–",
                *_beside(fast, slow, "evaluation", which),
                _seconds(fast["build"][which]),
                f"{fast['peak_memory_mb']:.0f}",
            ]
        )
    head = ["model, data set", "epoch", "plain", "ratio", "loose", "floor", "x floor", "evaluation", "plain", "ratio"]
    return table([*head, "build", "MiB"], rows)


def _beside(fast: Result, slow: Result, what: str, which: str) -> list[str]:
    if what not in fast:
        return ["–"] * 3
    own = fast[what][which]
    if what not in slow:
        return [_seconds(own), "failed", "–"]
    return [_seconds(own), _seconds(slow[what][which]), f"{slow[what][which] / own:.1f}"]


def _floor(fast: Result, roofs: Result) -> float | None:
    """Seconds an epoch would take if its bytes moved at full bandwidth, its dense products ran at full speed, one
    after the other, and nothing else took time."""
    if "flops_per_step" not in fast or "flops_per_second" not in roofs:
        return None
    moving = sum(fast["bytes_per_step"].values()) / roofs["bytes_per_second"]
    return fast["steps"] * (moving + fast["flops_per_step"] / roofs["flops_per_second"])


def traffic(result: Result) -> str:
    """What the floor of each model is made of, in MB and GFLOP a step, and sampling and rebuilding, in seconds an
    epoch."""
    which = clock_of(result)
    rows = []
    for row in result["models"]:
        fast = row.get("fast", {})
        if "bytes_per_step" in fast:
            moved = [f"{fast['bytes_per_step'][part] / 1e6:.1f}" for part in ("products", "rows", "optimiser")]
            plain = row["plain"].get("sampling")
            sampling = [_seconds(fast["sampling"][which]), _seconds(plain[which]) if plain else "failed"]
            dense = f"{fast['flops_per_step'] / 1e9:.2f}" if "flops_per_step" in fast else "–"
            rows.append([row["title"], str(fast["steps"]), *moved, dense, *sampling, _seconds(fast["rebuild"][which])])
    head = ["model", "steps", "products, MB", "rows, MB", "optimiser, MB", "dense, GFLOP"]
    head += ["sampling", "plain", "rebuild"]
    return table(head, rows)


def profiles(result: Result) -> str:
    """Where a step's time goes: the largest shares of each model."""
    rows = []
    for row in result["models"]:
        shares = row.get("fast", {}).get("profile", {})
        if shares:
            largest = sorted(shares.items(), key=lambda share: -share[1])[:6]
            rows.append([row["title"], ", ".join(f"{name} {share:.0%}" for name, share in largest)])
    return table(["model", "share of a step's time"], rows)


def products(result: Result) -> str:
    """The ways to multiply."""
    which = clock_of(result)
    rows = []
    for row in result["products"]:
        if "failure" in row:
            return row["failure"]
        rows += [
            [way, f"{row['nodes']:,}", f"{row['edges']:,}", f"{times[which] * 1e3:.2f}"]
            for way, times in row["seconds"].items()
        ]
    return table(["product with 64 columns", "nodes", "edges", "ms"], rows)


def knn(result: Result) -> str:
    """The search for neighbours."""
    rows = []
    for row in result["knn"]:
        what = [f"{row['items']:,} x {row['width']}{', plain' if row['plain'] else ''}", str(row["threads"])]
        if "failure" in row:
            rows.append([*what, row["failure"], "–", "–"])
        else:
            times = row["seconds"]
            rows.append([*what, f"{times['cpu']:.2f}", f"{times['clock']:.2f}", f"{row['peak_memory_mb']:.0f}"])
    return table(["10 nearest of", "threads", "processor, s", "clock, s", "MiB"], rows)


def scale(result: Result) -> str:
    """TMFUN as interactions grow."""
    which = clock_of(result)
    rows = []
    for row in result["scale"]["rows"]:
        name = row["dataset"].partition("[")[0]
        if "failure" in row:
            rows.append([name, row["failure"], *["–"] * 5])
            continue
        named = name if name == row["dataset"] else "grown"
        sizes = [f"{row[part]:,}" for part in ("users", "items", "interactions")]
        times = [f"{row['step'][which] * 1e3:.0f}", _seconds(row["build"][which])]
        rows.append([named, *sizes, *times, f"{row['peak_memory_mb']:.0f}"])
    found = table(["set", "users", "items", "interactions", "step, ms", "build, s", "MiB"], rows)
    named = {what: "–" if value is None else f"{value:.2f}" for what, value in result["scale"]["exponents"].items()}
    return f"{found}\n\nFitted exponent over the grown sets: time per step {named['time']}, memory {named['memory']}."


Reads = Callable[[Result], float | None]


def _epoch(model: str, apart: bool = False) -> Reads:
    """Seconds of an epoch, with what its first step rebuilds, or `apart` from that."""

    def read(result: Result) -> float | None:
        row = _row(result, model)
        if not row:
            return None
        which = clock_of(result)
        return row["fast"]["epoch"][which] - (row["fast"]["rebuild"][which] if apart else 0)

    return read


def _row(result: Result, model: str) -> Result | None:
    """The row of a model, trained as by default, on Baby, or on a set of its size, with both sides measured."""
    named = [r for r in result.get("models", []) if r["model"] == model and not {"optimiser", "compiled"} & set(r)]
    rows = [r for r in named if r["dataset"] in (BABY, LIKE_BABY)]
    whole = [row for row in rows if "epoch" in row.get("fast", {}) and "epoch" in row["plain"]]
    return whole[0] if whole else None


def _over(upper: Reads, lower: Reads) -> Reads:
    def read(result: Result) -> float | None:
        a, b = upper(result), lower(result)
        return None if a is None or b is None else a / b

    return read


def _gain(result: Result) -> float | None:
    row, which = _row(result, "lightgcn"), clock_of(result)
    return row["fast"]["epoch"][which] / row["plain"]["epoch"][which] if row else None


def _evaluation(result: Result) -> float | None:
    row = _row(result, "lightgcn")
    return row["fast"]["evaluation"][clock_of(result)] if row else None


def _knn(part: str) -> Reads:
    def read(result: Result) -> float | None:
        rows = [r for r in result.get("knn", []) if (r["items"], r["width"]) == KNN and "failure" not in r]
        if not rows:
            return None
        most = max(rows, key=lambda row: row["threads"])
        if part == "memory":
            return _gb(most)
        # By the clock, on cores that are busy elsewhere, it would be the others' time.
        return most["seconds"]["clock"] if result["machine"]["gpu"] else most["seconds"]["cpu"] / most["threads"]

    return read


def _gb(row: Result) -> float:
    return row["peak_memory_mb"] * 2**20 / GB


def _scale(dataset: str) -> Reads:
    def read(result: Result) -> float | None:
        rows = [r for r in result.get("scale", {}).get("rows", []) if r["dataset"] == dataset and "failure" not in r]
        return _gb(rows[0]) if rows else None

    return read


def _exponent(what: str) -> Reads:
    return lambda result: result.get("scale", {}).get("exponents", {}).get(what)


# What is aimed at, the most it may be, its unit, and where the result says what it is.
AIMS: list[tuple[str, float, str, Reads]] = [
    ("LightGCN, epoch", 2.5, "s", _epoch("lightgcn")),
    ("LightGCN, epoch over its plain reference's", 1 / 3, "", _gain),
    ("MF-BPR, epoch", 0.4, "s", _epoch("mf-bpr")),
    ("TMFUN, epoch", 5.0, "s", _epoch("tmfun")),
    ("TMFUN, epoch over LightGCN's", 2.0, "", _over(_epoch("tmfun"), _epoch("lightgcn"))),
    ("FREEDOM, epoch over LightGCN's", 2.5, "", _over(_epoch("freedom"), _epoch("lightgcn"))),
    ("MICRO, epoch over LightGCN's", 2.5, "", _over(_epoch("micro"), _epoch("lightgcn"))),
    (
        "LATTICE, epoch over LightGCN's, the rebuild apart",
        2.5,
        "",
        _over(_epoch("lattice", apart=True), _epoch("lightgcn")),
    ),
    ("LightGCN, one validation pass", 0.8, "s", _evaluation),
    (f"nearest items, {KNN[0]:,} x {KNN[1]}, on all cores", 30, "s", _knn("seconds")),
    ("their memory", 1.5, "GB", _knn("memory")),
    (f"TMFUN on {ELECTRONICS}, memory", 8, "GB", _scale(ELECTRONICS)),
    (f"TMFUN on {MILLION}, memory", 16, "GB", _scale(MILLION)),
    ("time per step by interactions, exponent", 1.1, "", _exponent("time")),
    ("memory by interactions, exponent", 1.1, "", _exponent("memory")),
]


def aims(result: Result) -> str:
    """Every aim, what was measured, and by how much it was missed."""
    rows = []
    for what, most, unit, reads in AIMS:
        value = reads(result)
        if value is None:
            rows.append([what, f"{most:.3g} {unit}".strip(), "not measured", ""])
            continue
        verdict = "met" if value <= most else f"missed by {value / most - 1:.0%}"
        rows.append([what, f"{most:.3g} {unit}".strip(), f"{value:.3g} {unit}".strip(), verdict])
    return table(["aim", "at most", "measured", ""], rows)


def _seconds(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


SECTIONS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "aims": ("Aims", aims),
    "models": ("Seconds per epoch and per validation pass", models),
    "traffic": ("What the floor is made of", traffic),
    "profile": ("Where a step's time goes", profiles),
    "products": ("Sparse products", products),
    "knn": ("Nearest items", knn),
    "scale": ("Scale", scale),
}
NEEDS = {"aims": "machine", "traffic": "models", "profile": "models"}


def sections(result: Result, level: str = "##") -> str:
    """All tables of one machine, under headings; parts that were not measured are left out."""
    parts = [
        f"{level} {title}\n\n{render(result)}"
        for name, (title, render) in SECTIONS.items()
        if NEEDS.get(name, name) in result
    ]
    return "\n\n".join([described(result), *parts])


def described(result: Result) -> str:
    """The machine, the versions and how it was measured, in a sentence."""
    there, how = result["machine"], result["how"]
    versions = ", ".join(f"{name} {number}" for name, number in there["versions"].items())
    device = there["gpu"] or f"{there['processor']}, {there['cores']} cores, {there['memory_gb']} GB"
    speed = ""
    for roof, words in (("bytes", "memory moves {:.1f} GB/s"), ("flops", "dense products run at {:.0f} GFLOP/s")):
        most = result.get("roofs", {}).get(f"{roof}_per_second")
        speed += f"; {words.format(most / 1e9)}" if most else ""
    return (
        f"**{device}**; {versions}; threads: {how['threads']}; medians of {how['repeat']}; seconds of the"
        f" {'clock' if clock_of(result) == 'clock' else 'processor'}{speed}."
    )


def refreshed(page: str, results: dict[str, Result]) -> str:
    """The page with the tables between its markers made anew, one part per machine."""
    inner = "\n\n".join(f"## {name}\n\n{sections(result, '###')}" for name, result in sorted(results.items()))
    pattern = re.compile(r"(<!-- bench -->\n).*?(\n<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{inner}{found[2]}", page)
