"""The error tree. Every failure a user can meet has a stable code, facts, and a sentence that says what to do.

    PipelineError
    ├── RetryableError               the same call may succeed later
    │   ├── StorageUnavailableError      storage_unavailable
    │   ├── LeaseBusyError               lease_busy
    │   ├── WorkerLostError              worker_lost
    │   ├── SinkAwayError                lineage_sink_away     datasets/lineage/sinks.py
    │   ├── EventRefusedError            lineage_event_refused
    │   ├── FetchFailedError             fetch_failed          datasets/fetch/fetch_errors.py
    │   ├── FetchTooSlowError            fetch_too_slow
    │   └── WeightsUnreachableError      weights_unreachable   model_blocks/weight_errors.py
    ├── PermanentError               the same call will fail again
    │   ├── SettingsError                settings
    │   │   ├── MasterKeyError               master_key        datasets/vault_errors.py
    │   │   ├── ServiceMissingError          service_missing   model_blocks/services.py
    │   │   ├── AdapterMissingError          adapter_missing   model_blocks/adapters/frames_errors.py
    │   │   ├── AdapterPriceError            adapter_price
    │   │   ├── OwnBrokenError               own_broken        model_blocks/own.py
    │   │   └── LimitsDifferError            limits_differ     deployments/limits.py
    │   ├── VaultError                   vault                 datasets/vault_errors.py
    │   │   ├── SecretMissingError           secret_missing
    │   │   ├── SecretExpiredError           secret_expired
    │   │   ├── SecretRetiredError           secret_retired
    │   │   └── SecretUnreadableError        secret_unreadable
    │   ├── UsageError                   usage
    │   │   └── UsageExportError             usage_export      datasets/ledger/usage_export.py
    │   ├── RecipeError                  recipe
    │   ├── NotFoundError                not_found
    │   ├── FetchError                   fetch                 datasets/fetch/fetch_errors.py
    │   │   ├── FetchRefusedError            fetch_refused
    │   │   ├── FetchNotFoundError           fetch_not_found
    │   │   ├── FetchDeniedError             fetch_denied
    │   │   ├── FetchTooLargeError           fetch_too_large
    │   │   └── FetchNotAnImageError         fetch_not_an_image
    │   ├── PurchaseStateError           purchase_state        datasets/ledger/purchases.py
    │   ├── PurchaseLostError            purchase_lost
    │   ├── UnreadableError              unreadable            tasks/intake.py
    │   ├── IntakeError                  and its leaves        tasks/ops/photo_errors.py
    │   ├── ColourUnsupportedError       colour_unsupported    tasks/ops/video/matrices.py
    │   ├── HdrUnsupportedError          hdr_unsupported       tasks/ops/video/hdr.py
    │   ├── ClipError                    and its leaves        tasks/ops/video/video_errors.py
    │   ├── FormatLimitError             format_limit          tasks/ops/encode.py
    │   ├── ClipFormatError              clip_format           tasks/ops/video/codecs.py
    │   ├── EncodeError                  encode_failed         tasks/ops/video/encoding.py
    │   ├── SegmentMismatchError         segment_mismatch      tasks/ops/video/segments.py
    │   ├── LutInvalidError              lut_invalid           tasks/ops/lut.py
    │   ├── FrameShapeError              frame_shape
    │   ├── PlanTooLargeError            plan_too_large
    │   ├── DiskTooSmallError            disk_too_small
    │   ├── NoResourceError              no_resource
    │   ├── GateError                    gate_not_evaluated    expectations/validation.py
    │   ├── NoObjectError                no_object             tasks/place.py
    │   ├── ServiceRefusedError          service_refused       tasks/buying_ends.py
    │   ├── PaidUnusableError            paid_unusable
    │   ├── PaidAnswerLostError          paid_answer_lost
    │   ├── OutputIncompleteError        output_incomplete
    │   ├── OutputDamagedError           output_damaged
    │   ├── ModelUnknownError            model_unknown
    │   │   ├── NoModelFitsError             no_model_fits     model_blocks/routing.py
    │   │   └── LicenceRefusedError          licence_refused
    │   ├── ModelOutputError             model_output          model_blocks/model_errors.py
    │   ├── ModelMemoryError             model_memory
    │   ├── WeightsMissingError          weights_missing       model_blocks/weight_errors.py
    │   ├── WeightsDigestError           weights_digest
    │   ├── WeightsDamagedError          weights_damaged
    │   ├── WeightsUnsafeError           weights_unsafe
    │   ├── WeightsKeysError             weights_keys
    │   ├── AdapterError                 adapter               model_blocks/adapters/frames_errors.py
    │   │   ├── AdapterTimeoutError          adapter_timeout
    │   │   ├── AdapterExitError             adapter_exit
    │   │   ├── AdapterMemoryError           adapter_memory
    │   │   ├── AdapterProcessesError        adapter_processes
    │   │   ├── AdapterFloodError            adapter_flood
    │   │   ├── AdapterOutputError           adapter_output
    │   │   ├── AdapterAwayError             adapter_away
    │   │   └── AdapterRefusedError          adapter_refused
    │   ├── TableUnreadableError         table_unreadable      datasets/catalogue/records.py
    │   ├── TableChangedError            table_changed
    │   ├── ImagePathError               image_path_outside    datasets/catalogue/local_images.py
    │   ├── RecordDamagedError           record_damaged        datasets/lineage/record.py
    │   ├── SigningError                 signing               datasets/lineage/signing.py
    │   ├── ServeError                   serve                 deployments/serve.py
    │   └── ApiServerError               api_server            deployments/api_server.py
    ├── NotDeliveredError            ends an item on purpose   tasks/ends.py
    │   ├── StoppedError                 guardrail_stop
    │   ├── RejectedError                rejected
    │   ├── AwaitingApprovalError        awaiting_approval
    │   ├── DeferredError                over_budget
    │   ├── ServiceAwayError             service_unavailable
    │   ├── MachineFailingError          machine_failing
    │   └── HeldError                    outcome_unknown
    ├── RunStoppedError              run_stopped               tasks/stage.py
    └── WouldComputeError            would_compute             tasks/stage.py, dry runs only

A released code keeps its meaning. The ledger stores ``code`` and ``facts`` and never parses a message.
"""

from typing import ClassVar


class PipelineError(Exception):
    """Root of every error this project raises on purpose.

    Args:
        message: One sentence: what was expected, what came, the remedy.
        facts: JSON-ready details, stored beside the code. Optional, so that unpickling from a worker works.
    """

    code: ClassVar[str] = "pipeline"

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(kind: type[PipelineError], message: str, facts: dict[str, object]) -> PipelineError:
    return kind(message, **facts)


class RetryableError(PipelineError):
    """The same call may succeed later."""

    code = "retryable"


class PermanentError(PipelineError):
    """The same call will fail again."""

    code = "permanent"


class StorageUnavailableError(RetryableError):
    code = "storage_unavailable"


class LeaseBusyError(RetryableError):
    code = "lease_busy"


class WorkerLostError(RetryableError):
    code = "worker_lost"


class SettingsError(PermanentError):
    code = "settings"


class UsageError(PermanentError):
    code = "usage"


class FrameShapeError(PermanentError):
    code = "frame_shape"


class PlanTooLargeError(PermanentError):
    code = "plan_too_large"


class DiskTooSmallError(PermanentError):
    code = "disk_too_small"


class NoResourceError(PermanentError):
    code = "no_resource"


class OutputIncompleteError(PermanentError):
    code = "output_incomplete"


class OutputDamagedError(PermanentError):
    code = "output_damaged"


class ModelUnknownError(PermanentError):
    code = "model_unknown"


class RecipeError(PermanentError):
    code = "recipe"


class NotFoundError(PermanentError):
    code = "not_found"


def worth_retrying(error: BaseException) -> bool:
    """Whether the same call may succeed later. Lost workers arrive as ``WorkerLostError``."""
    return isinstance(error, RetryableError)
