"""Scalars as bytes of TensorBoard's event files. Its own writer has a thread that prints a traceback on a full disk."""

import io

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def records(values: dict[str, float], step: int, now: float, first: bool) -> bytes:
    """Return the records of an epoch's values.

    Args:
        values: by name.
        step: index of the epoch, over all stages.
        now: seconds since 1970.
        first: whether they begin a file: TensorBoard then drops the events of earlier files from this step on.
    """
    shown = [Summary(value=[Summary.Value(tag=name, simple_value=value)]) for name, value in values.items()]
    events = [Event(summary=summary) for summary in shown]
    if first:
        start = Event(session_log=SessionLog(status=SessionLog.START))
        events = [Event(file_version="brain.Event:2"), start, *events]
    buffer = io.BytesIO()
    for event in events:
        event.wall_time, event.step = now, step
        RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
