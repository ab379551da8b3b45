"""What can go wrong with a picture behind a URL. URLs in messages and facts are told without login and query."""

from datasets.errors import PermanentError, RetryableError


class FetchError(PermanentError):
    """Fetching the same URL again will end the same way."""

    code = "fetch"


class FetchRefusedError(FetchError):
    """We do not go there: nothing was sent to that address. ``facts["reason"]`` says which rule."""

    code = "fetch_refused"


class FetchNotFoundError(FetchError):
    """The server has no such picture (404, 410)."""

    code = "fetch_not_found"


class FetchDeniedError(FetchError):
    """The server does not give it to us (401, 403 and other 4xx)."""

    code = "fetch_denied"


class FetchTooLargeError(FetchError):
    """More bytes than the limit."""

    code = "fetch_too_large"


class FetchNotAnImageError(FetchError):
    """What came says by itself that it is no picture."""

    code = "fetch_not_an_image"


class FetchFailedError(RetryableError):
    """No whole reply came. ``facts["retry_after_s"]``, if there, is how long the server asked us to stay away."""

    code = "fetch_failed"


class FetchTooSlowError(RetryableError):
    """The time limit passed before the picture was here."""

    code = "fetch_too_slow"
