"""The mirror in MLflow: trial folders are copied into runs; nobody waits for it.

The folders are the truth. Everything here looks up what MLflow already has and adds what is
missing, so that it may be repeated at any time and never doubles anything.

Tree: experiment = study (tag harness.study_id) > run of the study (tag harness.role = study)
> one run per trial (tag harness.trial = <study>/<number>; harness.role is trial, or confirm).

shipper.py   tries, remembers what is behind         ../mirror.py the same on a thread of its own
store.py     opens MLflow, finds the experiment      runs.py      what is written into a run
lookup.py    what is there already                   values.py    in MLflow's own objects
pictures.py  overlays under names that do not change     champion.py  the confirmed winner
../relocation.py  lets the tables follow a workspace that was moved
"""

from harness.search.tracking.shipper import log_champion, log_numbers, log_report, sync

__all__ = ["log_champion", "log_numbers", "log_report", "sync"]
