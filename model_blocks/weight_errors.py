"""Why weights cannot be used.

WeightsMissingError        weights_missing       the file is not there
WeightsDigestError         weights_digest        it is another file than the published or recorded one
WeightsDamagedError        weights_damaged       it cannot be read to its end
WeightsUnsafeError         weights_unsafe        it holds code, or names code to be run
WeightsKeysError           weights_keys          it holds other parameters than the network has
WeightsUnreachableError    weights_unreachable   no source could be reached; the same call may succeed later
"""

from datasets.errors import PermanentError, RetryableError


class WeightsMissingError(PermanentError):
    code = "weights_missing"


class WeightsDigestError(PermanentError):
    code = "weights_digest"


class WeightsDamagedError(PermanentError):
    code = "weights_damaged"


class WeightsUnsafeError(PermanentError):
    code = "weights_unsafe"


class WeightsKeysError(PermanentError):
    code = "weights_keys"


class WeightsUnreachableError(RetryableError):
    code = "weights_unreachable"
