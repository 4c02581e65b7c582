"""Options of the panel Compute: devices, workers, time limit, cluster."""

from typing import Annotated

from harness.cli.options import COMPUTE, option

GpusOption = Annotated[
    str | None,
    option(
        "Train on several GPUs: all, or some by index.",
        example="--gpus 0,2",
        panel=COMPUTE,
        default="one worker on --device; all with --per-gpu",
        metavar="LIST",
    ),
]
PerGpuOption = Annotated[
    str | None,
    option(
        "Number of simultaneous trials on each GPU; auto: as many as fit by their measured memory "
        "(never run on a GPU yet).",
        example="--per-gpu 2",
        panel=COMPUTE,
        default="1",
        metavar="N",
    ),
]
WorkersOption = Annotated[
    str | None,
    option(
        "Number of simultaneous trials on the CPU (auto: the fastest, measured), or on a cluster "
        "(max: as many as fit there).",
        example="--workers 4",
        panel=COMPUTE,
        default="one worker on --device",
        metavar="N",
    ),
]
DataOnDeviceOption = Annotated[
    bool,
    option(
        "Hold the training images in the memory of the device and augment them there, if they fit; "
        "never run on a GPU yet.",
        "--data-on-device",
        panel=COMPUTE,
        default="they stay on the CPU",
    ),
]
ClusterOption = Annotated[
    str | None,
    option(
        "Train on a cluster: ray, ray:HOST:PORT or slurm.",
        example="--cluster ray",
        panel=COMPUTE,
        default="this machine alone",
        metavar="CLUSTER",
    ),
]
GpusPerTrialOption = Annotated[
    float | None,
    option(
        "GPUs of each trial on a cluster; two trials share a GPU with 0.5.",
        example="--gpus-per-trial 0.5",
        panel=COMPUTE,
        default="1 if the cluster has GPUs, otherwise 0",
        metavar="N",
        min=0,
    ),
]
CpusPerTrialOption = Annotated[
    int | None,
    option(
        "Processors of each trial on a cluster, and the number of its threads.",
        example="--cpus-per-trial 4",
        panel=COMPUTE,
        default="1",
        metavar="N",
        min=1,
    ),
]
ScratchOption = Annotated[
    str | None,
    option(
        "Folder that all nodes share, or URL, for checkpoints on a cluster.",
        example="--scratch s3://bucket/harness",
        panel=COMPUTE,
        default="they are sent to this machine",
        metavar="FOLDER",
    ),
]
SbatchOption = Annotated[
    str | None,
    option(
        "Options of sbatch for the workers of --cluster slurm, each as --name=value.",
        example='--sbatch "--partition=gpu --time=04:00:00 --gres=gpu:1"',
        panel=COMPUTE,
        default="those of the cluster",
        metavar="OPTIONS",
    ),
]
TrustedNetworkOption = Annotated[
    bool,
    option(
        "Use a Ray cluster that needs no token, since nobody else can reach its network.",
        "--trusted-network",
        panel=COMPUTE,
        default="such a cluster is refused",
    ),
]
ShipCodeOption = Annotated[
    bool,
    option(
        "Send this package to the nodes of a Ray cluster, which have its dependencies only.",
        "--ship-code",
        panel=COMPUTE,
        default="the nodes have the same version installed",
    ),
]
TimeoutOption = Annotated[
    str | None,
    option(
        "Stop after this time: 8h, 90m, 1h30m or 3600 (seconds); the same command continues.",
        example="--timeout 8h",
        panel=COMPUTE,
        default="no limit",
        metavar="TIME",
    ),
]
