"""What ends a trial's function from outside."""


class TrialStopped(BaseException):
    """The trial is to end: raised by `reporter.broadcast`. Like KeyboardInterrupt no `Exception`, so that
    code which goes on after errors does not go on after this one; clean up in `finally`."""
