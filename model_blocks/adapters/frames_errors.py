"""How calls of adapters to outside processes and services can fail; each failure keeps to the item it was for."""

from datasets.errors import PermanentError, SettingsError


class AdapterMissingError(SettingsError):
    """A recipe restyles and no adapter is named, or the named one is not there."""

    code = "adapter_missing"


class AdapterPriceError(SettingsError):
    """The adapter costs money, and what it is asked for is not bought through the ledger of purchases."""

    code = "adapter_price"


class AdapterError(PermanentError):
    """A call failed; the adapter has tried again itself where that may help."""

    code = "adapter"


class AdapterTimeoutError(AdapterError):
    """Not done when its time was over."""

    code = "adapter_timeout"


class AdapterExitError(AdapterError):
    """The command did not start, or ended with another status than zero."""

    code = "adapter_exit"


class AdapterMemoryError(AdapterError):
    """The command used more memory than it may."""

    code = "adapter_memory"


class AdapterProcessesError(AdapterError):
    """The command had more processes at a time than it may."""

    code = "adapter_processes"


class AdapterFloodError(AdapterError):
    """The command wrote more than it may, to its outputs or to disk."""

    code = "adapter_flood"


class AdapterOutputError(AdapterError):
    """What came back is not the frames that were to come."""

    code = "adapter_output"


class AdapterAwayError(AdapterError):
    """The service could not be reached or was not able to answer, also not when it was asked again."""

    code = "adapter_away"


class AdapterRefusedError(AdapterError):
    """The service said no, and would say so again."""

    code = "adapter_refused"
