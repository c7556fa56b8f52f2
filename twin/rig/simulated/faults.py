"""What can be made to go wrong with simulated pumps."""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """What can be made to go wrong with one pump, or with its cable."""

    STALL = "stall"  #: its motor stops, and it raises an alarm
    RESET = "reset"  #: its power blinks: it stops, forgets its running rate, and raises an alarm
    SILENCE = "silence"  #: it neither hears nor answers
    MUTE = "mute"  #: it obeys, but its replies are lost
    GARBAGE = "garbage"  #: it obeys, but its replies are noise
    PARTIAL = "partial"  #: it obeys, but its replies break off
    WRONG_ADDRESS = "wrong address"  #: it obeys, but answers under another address
    BAD_CRC = "bad crc"  #: it obeys, but its replies carry a wrong checksum, where they carry one
    SLOW = "slow"  #: its clock is 3 % slow, so it delivers less than it was told: the ledger must notice
    UNPLUGGED = "unplugged"  #: the cable of the whole line is pulled out


#: The share of its rate that a pump with `SLOW` delivers.
SLOW_SHARE = 0.97
