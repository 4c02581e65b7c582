"""Command `harness app`: a page that shows masks for images that a user drops on it."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

from harness.cli.display import open_progress
from harness.cli.options import SEARCH, DeployedTrialOption, DeviceOption, WorkspaceOption, option
from harness.core.errors import UserError
from harness.search.definition.options import RunOptions

PAGE = "Page"  # panel of --help

StudyOption = Annotated[
    str | None,
    option(
        "Name of the study whose network is shown.",
        example="--study encoders",
        panel=SEARCH,
        default="no study; then --bundle is required",
        metavar="NAME",
    ),
]
BundleOption = Annotated[
    Path | None,
    option(
        "Folder that harness export wrote; its network is shown without a study.",
        example="--bundle bundles/encoders",
        panel=SEARCH,
        default="no bundle; then --study is required",
        metavar="DIR",
    ),
]
CompareOption = Annotated[
    int | None,
    option(
        "Number of a second trial, shown side by side from the start.",
        example="--compare 3",
        panel=SEARCH,
        default="no comparison; the page can start one",
        metavar="N",
        min=0,
    ),
]
HostOption = Annotated[
    str,
    option(
        "Address to listen on; one that other machines can reach requires a token.",
        example="--host 0.0.0.0",
        panel=PAGE,
        default="127.0.0.1, this machine only",
        metavar="ADDRESS",
    ),
]
PortOption = Annotated[
    int,
    option(
        "Port to listen on; 0 chooses a free one.",
        example="--port 0",
        panel=PAGE,
        default="7860",
        metavar="N",
        min=0,
        max=65535,
    ),
]
TokenOption = Annotated[
    str | None,
    option(
        "Secret that opens the page, 12 characters or more.",
        example='--token "$(openssl rand -hex 16)"',
        panel=PAGE,
        default="none on 127.0.0.1, otherwise generated and printed",
        metavar="TEXT",
    ),
]
OpenOption = Annotated[
    bool,
    option(
        "Open the page in the browser.",
        "--open",
        panel=PAGE,
        default="the address is printed",
    ),
]


def web_app(
    study: StudyOption = None,
    bundle: BundleOption = None,
    trial: DeployedTrialOption = None,
    compare: CompareOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 7860,
    token: TokenOption = None,
    browser: OpenOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = Path(),
) -> None:
    """Show masks for your own images on a page in the browser, for this machine only.

    Example: harness app --study encoders --compare 3
    """
    from harness.deploy.app.serve import bind_socket, build_policy, serve  # noqa: PLC0415  # uvicorn

    _check_source(study, bundle, trial, compare)
    # Before the network is loaded, which takes seconds.
    policy = build_policy(host, token)
    with closing(bind_socket(host, port)) as bound, closing(open_progress()) as progress:
        if bundle is not None:
            from harness.deploy.app.bundle_models import BundleModels  # noqa: PLC0415  # onnxruntime

            serve(BundleModels(bundle), policy, bound, browser=browser)
            return
        from harness.deploy.app.study_models import StudyModels  # noqa: PLC0415  # imports torch

        options = RunOptions.from_arguments(
            {"study": study, "workspace": workspace, "device": device}
        )
        models = StudyModels(options, trial, compare, progress)
        serve(models, policy, bound, browser=browser)


def _check_source(
    study: str | None, bundle: Path | None, trial: int | None, compare: int | None
) -> None:
    if (study is None) == (bundle is None):
        raise UserError("name one of the two: --study NAME, or --bundle DIR")
    for name, value in {"--trial": trial, "--compare": compare}.items():
        if bundle is not None and value is not None:
            raise UserError(f"{name}: a bundle holds one network; choose trials with --study")
