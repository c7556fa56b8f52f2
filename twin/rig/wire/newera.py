"""Constants of the New Era link. The driver and the simulator share these, and no code.

Sources: manuals of the NE-1000 and NE-500 families, firmware 3.9 (sections on the RS-232 protocol).
"""

from __future__ import annotations

BAUD = 19200
STX = 0x02
ETX = 0x03

#: What a packet of Safe mode adds to its text, as its length byte counts it: that byte, two of the checksum, ETX.
OVERHEAD = 4
#: The checksum of Safe mode is CRC-16/XMODEM of the text (`binascii.crc_hqx`), high byte first, from this start.
CRC_START = 0
#: A pump drops a packet that is not whole when no byte comes for so long, s.
BYTE_GAP_S = 0.5
#: The longest time-out of Safe mode, s.
LONGEST_S = 255

#: What follows `A?` in the place of the status.
ALARMS = {
    "R": "was reset: its power was interrupted",
    "S": "stalled: its motor can't move",
    "T": "heard nothing for longer than its watchdog allows",
    "E": "found an error in its pumping program",
    "O": "was sent to a program phase that does not exist",
}

#: What stands in the place of the data where a command was not executed.
REFUSALS = {
    "?": "it does not know the command",
    "?NA": "not applicable in its present state",
    "?OOR": "out of its range",
    "?COM": "the packet arrived damaged",
    "?IGN": "ignored, because a new phase started at the same moment",
}
