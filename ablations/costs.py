"""How long runs take on a kind of device: from the records that were made there, else a first guess."""

import math
from collections import defaultdict

import numpy as np

from ablations.planning import Plan
from ablations.records import Store
from ablations.specification import Specification
from tmfun.dataset import Card

# The first guess, for models without a record: measured on one core of a 2.3 GHz Xeon, 64 dimensions.
SECONDS_PER_STEP = 0.004
SECONDS_PER_INTERACTION = {"tmfun": 32e-6, "lattice": 22e-6, "vbpr": 10e-6, "lightgcn": 11e-6, "mf-bpr": 3e-6}
USUAL_EPOCHS = 80  # until early stopping
SECONDS_PER_EVALUATION = 6e-9  # per user and item
START = 0.5  # seconds to load and build
GROWTH = 1.5  # of a run with its interactions: epochs have more steps, and with a graph each step takes longer, too


class Estimator:
    """Seconds of a run on one kind of device, "cpu" or a GPU's name: the median of its model's records there, on its
    data set, or on the set nearest in size, in proportion to the interactions; without any the first guess, a CPU's."""

    def __init__(self, store: Store, device: str = "cpu") -> None:
        self.interactions = {card.content_hash: card.train for card in store.cards()}
        self.totals: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for run_id in store.run_ids():
            record = store.read(run_id)
            if record.provenance["device"] == device:
                made = record.specification
                self.totals[made.model][made.content_hash].append(record.provenance["seconds"]["total"])

    def seconds(self, run: Specification, card: Card) -> float:
        """What one run will take, on one core or one GPU."""
        measured = self.totals.get(run.model, {})
        if measured:
            larger = {of: card.train / self.interactions[of] for of in measured}
            nearest = min(larger, key=lambda of: (of != run.content_hash, abs(math.log(larger[of]))))
            return float(np.median(measured[nearest])) * larger[nearest] ** GROWTH
        if not run.training:
            return START + 2 * SECONDS_PER_EVALUATION * card.users * card.items
        epochs = min(run.training["max_epochs"], USUAL_EPOCHS)
        epoch = card.train * SECONDS_PER_INTERACTION.get(run.model, 30e-6)
        epoch += SECONDS_PER_STEP * (card.train / run.training["batch_size"] + 1)
        evaluation = SECONDS_PER_EVALUATION * card.users * card.items / run.training["evaluate_every"]
        return START + epochs * (epoch + evaluation)

    def remaining(self, plan: Plan, store: Store, slots: int) -> float:
        """What the plan's runs without a record will take, side by side in `slots`.

        A second stage costs what one of its candidates does, for each seed that is not among them.
        """
        cards = {cell.card.content_hash: cell.card for cell in plan.cells}
        each = [self.seconds(run, cards[run.content_hash]) for run in plan.to_do(store)]
        for cell in plan.cells:
            if cell.final(store) is None:
                fresh = set(cell.entry.seeds) - set(cell.entry.grid_seeds)
                each += [self.seconds(cell.candidates()[0], cell.card)] * len(fresh)
        return max(sum(each) / slots, max(each, default=0.0))


def spoken(seconds: float) -> str:
    """A duration as a person says it: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
