"""Who and what trained a bundle: enough to ask whether somebody did, not enough to list them at a glance."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.bundle.bundle import Bundle
from bids_app.errors import LeakageError


def training_manifest(
    *,
    participants: Iterable[str],
    images: Iterable[str],
    sites: Mapping[str, int] | None = None,
    counts: Mapping[str, Any] | None = None,
    command: str,
    seed: int,
    split: str,
    plan: str = "",
    arms: Iterable[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """What ``manifest.json`` holds of a training on a cohort; the hash of the weights joins it when they are written.

    Args:
        participants: labels without ``sub-`` of everyone who trained any member (with an ensemble of folds: everyone).
        images: SHA-256 of every image that trained, in hexadecimal.
        sites: participants per site.
        counts: participants, sessions, labelled sessions, known values per target and so on.
        command: that makes the bundle again.
        seed: of split, weights and augmentation.
        split: its digest.
        plan: digest of the plans.
        arms: names of the arms that were compared.
        more: minutes, steps, age and sex of the cohort, anything a reader should know.

    Labels such as ``01`` can be guessed one by one in spite of the salt: hashes keep names out of sight and tie them to
    this bundle; they do not make them secret.
    """
    import torch

    salt = secrets.token_hex(16)
    return {
        "tandem": __version__,
        "torch": torch.__version__.split("+")[0],
        "command": command,
        "seed": seed,
        "split_digest": split,
        "plan_digest": plan,
        "arms": list(arms),
        "sites": dict(sites or {}),
        "counts": dict(counts or {}),
        **more,
        "salt": salt,
        "participants": sorted({salted(salt, _label(name)) for name in participants}),
        "trained_on": sorted({salted(salt, image) for image in images}),
    }


def hashed_images(images: Iterable[Path]) -> dict[str, Any]:
    """``salt`` and ``trained_on`` of a manifest for image files; nothing where there are none."""
    from bids_app.bids.digest import sha256_of

    salt = secrets.token_hex(16)
    found = sorted({salted(salt, sha256_of(path)) for path in images})
    return {"salt": salt, "trained_on": found} if found else {}


def was_trained_on(bundle: Bundle, participants: Iterable[str] = (), images: Iterable[str] = ()) -> list[str]:
    """Those of these participants (labels) and images (SHA-256 in hexadecimal) that the bundle's manifest holds.

    A label is found where the training had one of that name: in another dataset ``sub-01`` may be somebody else. An
    image is found where its very bytes trained.
    """
    salt = str(bundle.manifest.get("salt", ""))
    people, files = (set(bundle.manifest.get(name, ())) for name in ("participants", "trained_on"))
    found = [label for label in map(_label, participants) if salted(salt, label) in people]
    return list(dict.fromkeys(found + [image for image in images if salted(salt, image) in files]))


def trained_before(bundle: Bundle, participant: str, images: Iterable[Path]) -> list[str]:
    """What to tell a reader of a result whose participant trained the bundle; nothing where nobody did.

    Args:
        participant: label.
        images: the participant's raw images.
    """
    from bids_app.bids.digest import content_hash, sha256_of

    if not bundle.manifest.get("trained_on") and not bundle.manifest.get("participants"):
        return []
    paths = list(images)
    hashes = [sha256_of(path) for path in paths]
    if bundle.manifest.get("participants"):
        hashes += [content_hash(path) for path in paths]
    if was_trained_on(bundle, images=hashes):
        return [f"this participant trained the bundle {bundle.name}: the result says nothing about others"]
    if was_trained_on(bundle, [participant]):
        return [
            f"a participant named sub-{_label(participant)} trained the bundle {bundle.name}: if this is the same "
            "person, the result says nothing about others"
        ]
    return []


def refuse_trained(bundle: Bundle, participants: Iterable[str], images: Iterable[str] = ()) -> None:
    """Stop an evaluation on those who trained.

    Raises:
        LeakageError: naming them.
    """
    found = was_trained_on(bundle, participants, images)
    if found:
        raise LeakageError(
            f"the bundle {bundle.name} was trained on {', '.join(found)}: it cannot be evaluated on them; leave them "
            "out, or use the out-of-fold figures in its metrics.json"
        )


def salted(salt: str, text: str) -> str:
    """SHA-256 of the salt and of a content hash (64 hexadecimal digits), or of the hash of any other text."""
    try:
        content = bytes.fromhex(text) if len(text) == 64 else b""
    except ValueError:
        content = b""
    return hashlib.sha256(salt.encode() + (content or hashlib.sha256(text.encode()).digest())).hexdigest()


def _label(name: str) -> str:
    return str(name).removeprefix("sub-")
