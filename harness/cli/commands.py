"""Table of the commands of `harness`: modules, functions and summaries."""

# Name: module in harness.cli, function in it (None: a group of commands), summary in --help. The
# module is imported only when its command is given, so that `harness --help` need not wait the
# seconds that torch and mlflow take. A test compares the summaries with the docstrings.
COMMANDS: dict[str, tuple[str, str | None, str]] = {
    "demo": (
        "demo",
        "demo",
        "Search, confirm and report on generated polyps: two minutes on two CPU cores.",
    ),
    "run": ("run", "run", "Run a study, or continue it, until it has --trials finished trials."),
    "check": (
        "check",
        "check",
        "Check a study before training: its space, every network in it, weights and data.",
    ),
    "report": (
        "report",
        "report",
        "Write report.html and trials.csv, and print the leaderboard.",
    ),
    "confirm": (
        "confirm",
        "confirm",
        "Train the best configurations again on fresh seeds or folds, and rank them by the result.",
    ),
    "test": (
        "test",
        "evaluate_test_split",
        "Evaluate the chosen weights on the held-out test images; a ledger counts every test.",
    ),
    "export": (
        "export",
        "export",
        "Write the chosen network as a folder that runs without this package and without PyTorch.",
    ),
    "app": (
        "web_app",
        "web_app",
        "Show masks for your own images on a page in the browser, for this machine only.",
    ),
    "predict": (
        "predict",
        "predict",
        "Write the masks of new images; the same command continues where it stopped.",
    ),
    "trials": (
        "trials",
        "trials",
        "List the trials of a study with state, value and configuration.",
    ),
    "status": (
        "status",
        "status",
        "Show what runs now: trials, epochs, time left, memory and GPUs.",
    ),
    "studies": (
        "studies",
        "studies",
        "List the studies of a workspace: question, data, state, trials, best value, size, change.",
    ),
    "compare": (
        "compare",
        "compare",
        "Compare studies: results, definitions, learning curves, leading trials image by image.",
    ),
    "rename": ("rename", "rename", "Rename a study in its folder, in Optuna and in MLflow."),
    "archive": (
        "archive",
        "archive",
        "Write a study into one file, with a hash of each of its files.",
    ),
    "restore": (
        "restore",
        "restore",
        "Unpack the archive of a study, check every hash, and enter it in Optuna and MLflow.",
    ),
    "delete": (
        "delete",
        "delete",
        "Delete a study: show what goes, ask, then remove folder, Optuna's studies and MLflow's "
        "runs.",
    ),
    "clean": (
        "clean",
        "clean",
        "Show the disk use of every study, and remove what can be spared after a question.",
    ),
    "config": (
        "config",
        "config",
        "Show every setting: key, legal values, default, meaning, and when it has an effect.",
    ),
    "lr-find": (
        "lr_find",
        "lr_find",
        "Train while the learning rate rises, to find the rates that are worth searching.",
    ),
    "sync": (
        "sync",
        "sync",
        "Send to MLflow what it lacks of a study's folder; nothing is sent twice.",
    ),
    "ui": ("ui", "ui", "Start MLflow's web interface on this workspace, for this machine only."),
    "data": ("data", None, "Data sets: inspect, clean, download, synthesize."),
    "init": (
        "init",
        "init",
        "Look at a folder of images and masks, and write a commented space and study.yaml for it.",
    ),
    "report-bug": (
        "report_bug",
        "report_bug",
        "Print versions, machine, definition and failures of a study for a bug report, masked.",
    ),
}
