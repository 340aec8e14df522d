"""Serial ports: opened for one host alone, and what can go wrong said in a sentence."""

import contextlib
import errno
import os
import stat

from tritforge.common.extras import extra
from tritforge.sim.device import DeviceError

with extra("fpga", "a serial port"):
    import serial

__all__ = ["open_port"]

#: Seconds that a read waits for a byte, and a write for room.
READ_TIMEOUT, WRITE_TIMEOUT = 0.01, 10.0


def open_port(path: str, baud: int) -> serial.Serial:
    """A serial port, or a pseudo-terminal, that no one else has open; what waited in it is gone.

    Raises
    ------
    DeviceError
        It is missing, of another user, no terminal, or in use.
    """
    with contextlib.suppress(OSError):  # what pyserial would only say as a number
        if not stat.S_ISCHR(os.stat(path).st_mode):
            raise DeviceError(f"{path} is not a serial port")
    try:
        port = serial.Serial(
            path, baud, timeout=READ_TIMEOUT, write_timeout=WRITE_TIMEOUT, exclusive=True
        )
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        reason = {
            errno.ENOENT: "there is no such port; is the board connected?",
            errno.EACCES: "no permission; on many systems your user must be in the group dialout",
            errno.EBUSY: "another program has it open",
            errno.EAGAIN: "another program has it open",
            errno.EWOULDBLOCK: "another program has it open",
            errno.ENOTTY: "it is not a serial port",
        }.get(number if isinstance(number, int) else 0, str(error))
        if os.strerror(errno.ENOTTY) in str(error):
            reason = "it is not a serial port"
        if "exclusively lock" in str(error):
            reason = "another program has it open"
        raise DeviceError(f"serial port {path} cannot be opened: {reason}") from error
    # A USB adapter keeps bytes for 16 ms otherwise; not every port can do that.
    with contextlib.suppress(OSError, ValueError, AttributeError, NotImplementedError):
        port.set_low_latency_mode(True)
    port.reset_input_buffer()
    port.reset_output_buffer()
    return port
