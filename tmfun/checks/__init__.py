"""Whether a data set is what it should be: everything is looked at, and every defect is told, not only the first.

findings.py      what a finding is
interactions.py  counts, leaks, split kind, id order
features.py      features and neighbours files by themselves, and beside each other
edges.py         kNN graphs as edges, and how two of them lie on each other
signal.py        whether items with like content are liked by the same users
alignment.py     whether row i of a modality belongs to item i
"""

from tmfun.checks import alignment, features, interactions, signal
from tmfun.checks.edges import K, file_edges, knn_edges
from tmfun.checks.findings import Finding
from tmfun.dataset import Dataset, Modality
from tmfun.errors import InputError
from tmfun.graphs import modality_neighbours


def examine(dataset: Dataset) -> list[Finding]:
    """All findings on a data set, which need not be valid; what rests on broken parts is left out."""
    found = interactions.check(dataset)
    countable = all(finding.level != "error" for finding in found)
    sound = [modality for modality in dataset.modalities if _is_sound(modality, dataset.items)]
    use = signal.CoInteraction(dataset) if countable and sound else None
    if use and use.left_out:
        sentence = f"the {use.left_out:,} users with the longest histories are left out where co-interactions count"
        found.append(Finding(interactions.ABOUT, "long histories", "note", sentence, {"users": use.left_out}))
    beside = features.agreement(sound)
    for modality in dataset.modalities:
        about = features.about_modality(modality)
        own = [finding for finding in beside if finding.about == about]
        found += features.check(dataset, modality) + own
        if use and modality in sound:
            disagree = any(finding.what == "agreement" and finding.level == "error" for finding in own)
            found += _on_use(dataset, modality, use, disagree)
    found += [finding for finding in beside if finding not in found]
    if not any(finding.level == "error" for finding in found):
        found += _refusal(dataset)
    return found


def _is_sound(modality: Modality, items: int) -> bool:
    try:
        modality.check(items, "")
    except InputError:
        return False
    return True


def _on_use(dataset: Dataset, modality: Modality, use: signal.CoInteraction, disagree: bool) -> list[Finding]:
    """Signal and alignment of the graph that models take, and of the features' own where the two disagree."""
    about, synthetic = features.about_modality(modality), dataset.origin == "synthetic"
    graphs = {}
    if modality.neighbours is not None:
        graphs["neighbours file"] = file_edges(modality)
    if modality.features is not None and (disagree or not graphs):
        graphs["features"] = knn_edges(modality)
    found = []
    for source, edges in graphs.items():
        found += alignment.check(about, source, use, edges, synthetic)
    k = K if modality.neighbours is None else min(K, modality.neighbours.shape[1])
    return [*found, signal.content_only(about, dataset, *modality_neighbours(modality, k))]


def _refusal(dataset: Dataset) -> list[Finding]:
    """What else the data set would be refused for when it is loaded."""
    try:
        dataset.check()
    except InputError as error:
        return [Finding("data set", "loading", "error", str(error))]
    return []
