"""Constants of the Harvard link (11 Elite, PHD Ultra, KDS Legato). Driver and simulator share these, and no code.

Sources: manuals of the Pump 11 Elite (publication 5420-002 rev. C, pump chain commands), the PHD Ultra (5419-002
rev. A) and the KDS Legato 100 and 200 (5617-006, 5617-002). What no manual states is listed in the driver.
"""

from __future__ import annotations

#: What every known driver of the family opens the port with; the pump offers 9600 to 921600.
BAUD = 115200
#: In polling mode each reply ends with this byte, and nothing comes unasked.
XON = 0x11

#: The prompts that end a reply, less the address. The last two are the Legato's limit switches.
IDLE, INFUSING, WITHDRAWING, STALLED = ":", ">", "<", "*"
TARGET_REACHED = "T*"
INFUSE_LIMIT, WITHDRAW_LIMIT = ">*", "<*"

COMMAND_ERROR = "Command error"
ARGUMENT_ERROR = "Argument error"
UNKNOWN_COMMAND = "Unknown command"
OUT_OF_RANGE = "Out of range"

POLLING = "Polling mode is ON"
NO_TARGET_VOLUME = "Target volume not set"
NO_TARGET_TIME = "Target time not set"
NO_RAMP = "Ramp not set up."

#: Powers of ten, to mL, of the letter before `l` in a unit; commands take the letter alone.
ML_POWERS = {"p": -9, "n": -6, "u": -3, "m": 0, "": 3}
#: How often an hour holds the unit of time, by its spellings; commands take the letter alone.
PER_HOUR = {"s": 3600, "sec": 3600, "m": 60, "min": 60, "h": 1, "hr": 1}
#: Femtolitres, in which `status` counts, in a mL.
FL_PER_ML = 10**12
