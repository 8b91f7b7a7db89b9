"""Our TensorBoard event files against the tensorboard package.

Writes, with tensorboard's own protos and record writer, the events that tests/core/tensorboard_test.cpp reports; its
demand is that ours are the same bytes.

    python check_tensorboard.py            check that the golden file is what tensorboard writes
    python check_tensorboard.py --write    write it
    python check_tensorboard.py FOLDER     print the scalars that tensorboard reads from FOLDER, and fail without any

Made with tensorboard 2.21.0.
"""

import io
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

GOLDEN = pathlib.Path(__file__).with_name("tensorboard_events.bin")


def summary(**scalars):
    return summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    )


def events():
    """A run that goes on after step 2."""
    time = 1700000000.25
    yield event_pb2.Event(wall_time=time, file_version="brain.Event:2")
    yield event_pb2.Event(
        wall_time=time, step=3, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    )
    yield event_pb2.Event(
        wall_time=time,
        step=3,
        summary=summary(loss=2.5, learning_rate=1e-3, grad_norm=float("inf"), tokens_per_second=12345.678, mfu=0.0),
    )
    yield event_pb2.Event(
        wall_time=time, step=3, summary=summary(validation_loss=2.25, validation_accuracy=0.75)
    )


def records():
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events():
        writer.write(event.SerializeToString())
    return file.getvalue()


def show(folder):
    reader = event_accumulator.EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    tags = reader.Tags()["scalars"]
    for tag in tags:
        print(tag, [(event.step, event.value) for event in reader.Scalars(tag)])
    return 0 if tags else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        GOLDEN.write_bytes(records())
    elif len(sys.argv) == 2:
        sys.exit(show(sys.argv[1]))
    elif GOLDEN.read_bytes() != records():
        sys.exit(f"{GOLDEN.name} differs from what tensorboard writes")
