"""Data Docs: the pages that Great Expectations makes of a validation, written into a folder of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.errors import StorageUnavailableError, UsageError
from expectations.measures import MEASURES
from expectations.suites import Suite, Threshold
from expectations.validation import GateError, Validator, private_context, series, whole_frames

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

SITE = "stillmotion"
MARK = Path("static", "styles", "data_docs_default_styles.css")  # a folder that has it is such a site
INDEX = "index.html"


def check_docs_folder(folder: Path) -> None:
    """Refuse a folder that holds something else: pages would be written over it.

    Raises:
        UsageError: It is a file, or a folder with other things in it.
    """
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / MARK).is_file()):
        return
    if folder.exists():
        raise UsageError(
            f"{folder} holds something else than Data Docs; name a new or an empty folder for them", folder=str(folder)
        )


def write_data_docs(folder: Path, suite: Suite, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Validate rows by a suite and write the pages that show it.

    The pages name outside hosts for their looks; written and read without a network, they are only plainer.

    Args:
        folder: New, empty, or a site that was written before.
        rows: A row of the measures table for every item.

    Returns:
        The path of the first page.

    Raises:
        GateError: It could not be evaluated.
        StorageUnavailableError: The folder cannot be written.
    """
    check_docs_folder(folder)
    with Validator.alone():
        try:
            _build(folder, suite, rows)
        except OSError as error:
            raise StorageUnavailableError(
                f"Data Docs could not be written to {folder}: {error.strerror}; check space and rights",
                folder=str(folder),
            ) from error
        except (ValueError, TypeError, LookupError, RuntimeError, AttributeError) as error:
            raise GateError(f"the Data Docs of the {suite.gate} gate failed: {error}", gate=suite.gate) from error
    return folder / INDEX


def _build(folder: Path, suite: Suite, rows: Sequence[Mapping[str, Any]]) -> None:
    context = private_context({SITE: _site(folder)})
    import great_expectations as gx
    import pandas as pd

    expectations = [_shown(name, threshold) for name, threshold in suite.thresholds.items()]
    asked = context.suites.add(gx.ExpectationSuite(name=suite.gate, expectations=expectations))
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=suite.gate, data=whole_frames(context), suite=asked)
    )
    frame = pd.DataFrame({name: series([row.get(name) for row in rows]) for name in MEASURES})
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["item"]}
    definition.run(batch_parameters={"dataframe": frame}, result_format=form)
    context.build_data_docs()


def _shown(name: str, threshold: Threshold) -> "Expectation":
    """The expectation with its own name and level beside it."""
    made = threshold.expectation(name)
    made.notes = f"{name}: " + ("stops the item" if threshold.level == "stop" else "warns")
    return made


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
