"""Sections of a model card on data and training: what was trained, on what, and how chosen."""

from collections import Counter

import numpy as np

from harness.config.study import DataConfig
from harness.core.text import count, display_value, format_range, join_words
from harness.data.datasets.pairs import ROLES
from harness.data.splits.split_origin import split_origin_text
from harness.data.splits.splits import subset_size
from harness.deploy.card.card_facts import CardFacts
from harness.deploy.card.markdown import escape_text, facts_list, name_text, table
from harness.evaluation.held_out.ledger import TEST_SPLIT
from harness.training.metrics.image_scores import ImageScores

_ROLE_TITLES = {"train": "training", "val": "validation", "test": TEST_SPLIT}


def data_section(facts: CardFacts) -> str:
    """Data set, images and groups by role, classes with their shares, preparation of images."""
    data, config = facts.config.data, facts.config
    settings = [network.config.data for network in facts.networks]
    low, high = data.range
    sizes = dict.fromkeys(f"{size[0]} × {size[1]}" for size in (s.height_width for s in settings))
    origin = split_origin_text(config, facts.networks[0].split, facts.data_root)
    listed = [
        ("data set", name_text(data.root)),
        ("task", f"{data.task}; classes {escape_text(' / '.join(data.classes))}"),
        ("split", f"{escape_text(origin)}; duplicates are in the same part"),
        ("groups", "" if config.split.group is None else name_text(config.split.group)),
        ("images", f"{count(data.channels, 'channel')} of {data.bit_depth} bits, {low:g}-{high:g}"),
        ("size of the network's input", f"{join_words(sizes)} pixels"),
        ("fit", join_words(dict.fromkeys(_fit_text(s) for s in settings))),
        ("normalisation", join_words(dict.fromkeys(s.normalize for s in settings))),
        ("augmentation", join_words(dict.fromkeys(name_text(s.augment) for s in settings))),
    ]
    parts = [facts_list(listed), _roles_table(facts), _classes_table(facts)]
    return "\n".join(part for part in parts if part)


def _fit_text(settings: DataConfig) -> str:
    """Method of bringing images to the network's input."""
    tile = settings.tile
    if tile.size is None:
        return settings.fit
    return (
        f"windows of the images at {tile.scale:g} of their resolution, overlapping by "
        f"{tile.overlap:.0%}, averaged with Gaussian weights"
    )


def choice_section(facts: CardFacts) -> str:
    """Search, confirmation and the reason for these weights."""
    config = facts.config
    own = [record for record in facts.search if record.imported is None]
    states = Counter(record.state for record in own)
    searched = dict.fromkeys(key for record in own for key in record.params)
    counted = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    imported = len(facts.search) - len(own)
    listed = [
        ("weights", escape_text(facts.deployment.reason)),
        ("search", f"{count(len(own), 'trial')} ({counted})" if own else "none of its own"),
        ("imported", count(imported, "trial") if imported else ""),
        ("searched settings", join_words(name_text(key) for key in searched)),
        ("objective", f"{name_text(config.objective.metric)}, {config.objective.direction}"),
        ("sampler", config.sampler.name),
        ("pruner", config.pruner.name),
        ("confirmation", _confirmation_text(facts)),
        ("status", _status_text(facts)),
    ]
    return facts_list(listed)


def networks_section(facts: CardFacts) -> str:
    """Architecture, encoder, parameters and length of training of each network."""
    rows = []
    for network in facts.networks:
        model, record = network.config.model, network.record
        parameters = record.costs.get("cost/parameters")
        rows.append(
            (
                escape_text(network.weights.label),
                escape_text(model.arch),
                name_text(model.encoder_name),
                "random" if model.encoder_weights is None else model.encoder_weights,
                "–" if parameters is None else f"{parameters / 1e6:.2f} M",
                f"{display_value(record.best_epoch)} of {record.epochs}",
                str(record.seed),
            )
        )
    titles = ("trial", "network", "encoder", "started from", "parameters", "best epoch", "seed")
    return table(titles, rows)


def _roles_table(facts: CardFacts) -> str:
    rows = []
    for role in ROLES:
        members = [row for row in facts.networks[0].split if row.role == role]
        groups = len({row.group for row in members})
        rows.append((_ROLE_TITLES[role], str(len(members)), str(groups), _usage_text(facts, role)))
    return table(("part", "images", "groups", "use"), rows)


def _usage_text(facts: CardFacts, role: str) -> str:
    n_train = sum(row.role == "train" for row in facts.networks[0].split)
    shares = [network.config.data.subset for network in facts.networks]
    if role == "train":
        sizes = format_range(subset_size(n_train, share) for share in shares)
        return "training" if set(shares) == {1.0} else f"training, {sizes} of them (data.subset)"
    if role == "val":
        return "choice of epochs, trials and decision rule"
    looks = facts.ledger.count_tests()
    return f"opened by {count(looks, 'test run')}" if looks else "never opened"


def _classes_table(facts: CardFacts) -> str:
    """Share of each scored class in the masks of the first network's validation images."""
    scores = facts.networks[0].scores
    if scores is None or not len(scores):
        return ""
    rows = [
        (escape_text(facts.config.data.classes[index]), *_share_cells(scores, index))
        for index in facts.config.data.scored_classes
    ]
    titles = ("class", "share of pixels", "median share where present", "images with the class")
    return "Classes in the validation masks:\n\n" + table(titles, rows)


def _share_cells(scores: ImageScores, index: int) -> tuple[str, str, str]:
    chosen = scores.class_index == index
    truth = (scores.tp + scores.fn)[chosen]
    # Ignored pixels are in no count, so a mask that is ignored completely has a total of 0.
    total = (scores.tp + scores.fp + scores.fn + scores.tn)[chosen]
    present = truth > 0
    median = f"{100 * np.median(truth[present] / total[present]):.3g} %" if present.any() else "–"
    share = f"{100 * truth.sum() / max(1, total.sum()):.3g} %"
    return share, median, f"{int(present.sum())} of {len(truth)}"


def _confirmation_text(facts: CardFacts) -> str:
    confirmation = facts.confirmation
    if confirmation is None:
        return "none"
    runs = f"{count(len(confirmation.rows), 'configuration')} on {confirmation.parts} new "
    return f"{runs}{confirmation.kind}s each: {escape_text(confirmation.sentence)}"


def _status_text(facts: CardFacts) -> str:
    if facts.is_confirmed:
        return "confirmed choice"
    best = facts.config.objective.best(facts.search)
    labels = [network.weights.label for network in facts.networks]
    is_leading = best is not None and labels == [str(best.number)]
    return "leading, not confirmed" if is_leading else "not confirmed"
