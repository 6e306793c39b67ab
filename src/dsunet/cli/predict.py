"""`dsunet predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress
from dsunet.cli.parser import Command
from dsunet.cli.predict_asked import (
    add_predict_arguments,
    as_usual,
    check_cluster,
    model_asked,
    options_of,
    segmenter_of,
    sort_out,
)
from dsunet.cli.predict_output import (
    before,
    interrupted,
    notes_of,
    say,
    say_what_is_told_apart,
    say_what_the_cluster_did,
    say_what_was_done,
)
from dsunet.errors import ConfigError

if TYPE_CHECKING:
    from dsunet.data.remote import Remote
    from dsunet.predict import Options

__all__ = ["PREDICT"]


def _predict(arguments: Namespace) -> int:
    from dsunet.predict.single import STREAM, is_single

    options = options_of(arguments)
    sort_out(arguments)
    if arguments.output is None:
        arguments.output = STREAM if arguments.paths == [STREAM] else "predictions"
    check_cluster(arguments)
    if is_single(arguments.output):
        return _predict_one(arguments, options)
    if STREAM in arguments.paths:
        raise ConfigError(
            "- (standard input) is one image; give it alone, with --output FILE.png or --output -"
        )
    if arguments.cluster is not None:
        return _predict_on_cluster(arguments, options)
    return _predict_all(arguments, options)


def _predict_one(arguments: Namespace, options: Options) -> int:
    """One image into one file or onto the standard output, which nothing else is written to."""
    from dsunet.data.sources import Bytes, Source
    from dsunet.predict import plan_outputs
    from dsunet.predict.single import STREAM, check_single, predict_one
    from dsunet.support.files import check_writable, stopped_writing, write_atomically

    if arguments.list or arguments.resume:
        flag = "--list" if arguments.list else "--resume"
        raise ConfigError(f"{flag} is for folders; leave it out, or name a folder as --output")
    model, target = model_asked(arguments), Path(arguments.output)
    from_stream = STREAM in arguments.paths
    images: list[Path | Remote] = []
    if not from_stream:
        jobs = plan_outputs(
            arguments.paths,
            target.parent / ".none",
            options.save,
            None,
            arguments.files_from,
            from_parquet=arguments.from_parquet,
            column=arguments.column,
        )
        images = [job.image for job in jobs]
    elif len(arguments.paths) > 1 or arguments.files_from:
        raise ConfigError("- (standard input) is one image; give it alone")
    options = check_single(images, arguments.output, options, arguments.format)
    if arguments.output != STREAM:
        check_writable(target.parent)
    segmenter = segmenter_of(arguments, model)
    options = as_usual(arguments, options, segmenter)
    say(before(arguments, options, segmenter), sys.stderr)
    image: Source | Remote = (
        Bytes(sys.stdin.buffer.read(), "standard input") if from_stream else images[0]
    )
    scratch = None if arguments.output == STREAM else target.parent
    try:
        file = predict_one(segmenter, image, options, scratch)
    except OSError as error:
        raise stopped_writing(error, target.parent, "written") from error
    if arguments.output == STREAM:
        sys.stdout.buffer.write(file)
        sys.stdout.buffer.flush()
    else:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, file)
        except OSError as error:
            raise stopped_writing(error, target.parent, "written") from error
    notes = notes_of(image, file)
    if arguments.output != STREAM:
        notes.append(f"written to {target}")
    say(notes, sys.stderr if arguments.output == STREAM else sys.stdout)
    return 0


def _predict_all(arguments: Namespace, options: Options) -> int:
    from dsunet.data.pairs import read_names
    from dsunet.predict import Report, plan_outputs, predict_files

    model = model_asked(arguments)
    names = read_names(arguments.list) if arguments.list else None
    jobs = plan_outputs(
        arguments.paths,
        arguments.output,
        options.save,
        names,
        arguments.files_from,
        options.format,
        arguments.from_parquet,
        arguments.column,
    )
    say_what_is_told_apart(jobs)
    segmenter = segmenter_of(arguments, model)
    options = as_usual(arguments, options, segmenter)
    say(before(arguments, options, segmenter), sys.stdout)
    report = Report()
    try:
        with Progress("predicting") as progress:
            predict_files(
                segmenter,
                jobs,
                arguments.output,
                options,
                resume=arguments.resume,
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                progress=progress,
                report=report,
            )
    except KeyboardInterrupt:
        return interrupted(report.written + report.skipped, len(jobs))
    say_what_was_done(arguments, report, len(jobs))
    return 1 if report.failures else 0


def _predict_on_cluster(arguments: Namespace, options: Options) -> int:
    from dsunet.data.pairs import read_names
    from dsunet.predict.cluster.run import ClusterReport, predict_on_cluster
    from dsunet.predict.plan import plan

    model = model_asked(arguments)
    names = read_names(arguments.list) if arguments.list else None
    planned = plan(
        arguments.paths,
        arguments.output,
        options.save,
        names=names,
        files_from=arguments.files_from,
        format=options.format,
        from_parquet=arguments.from_parquet,
        column=arguments.column,
    )
    say_what_is_told_apart([each.job() for each in planned if each.told_apart])
    segmenter = segmenter_of(arguments, model)
    options = as_usual(arguments, options, segmenter)
    say(before(arguments, options, segmenter), sys.stdout)
    report = ClusterReport()
    try:
        with Progress("predicting") as progress:
            predict_on_cluster(
                segmenter,
                planned,
                arguments.output,
                options,
                cluster=arguments.cluster,
                actors=arguments.actors,
                cpus=arguments.actor_cpus,
                resume=arguments.resume,
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                progress=progress,
                report=report,
            )
    except KeyboardInterrupt:
        return interrupted(report.written + report.skipped, len(planned))
    say_what_the_cluster_did(arguments, report, len(planned))
    return 1 if report.failed else 0


PREDICT = Command(
    "Segment images and folders of images, with your own weights or those that come with dsunet.",
    "  dsunet predict photo.jpg --save overlay\n"
    "  dsunet predict photo.jpg --save cutout --background white --output photo-cut.jpg\n"
    "  dsunet predict photo.jpg --weights RUN --output OUT\n"
    "  dsunet predict photo.jpg --weights RUN TRIAL --output MEAN\n"
    "  dsunet predict DIR/images --list RUN/val.txt --weights RUN/best.safetensors "
    "--output MAPS\n",
    add_predict_arguments,
    _predict,
)
