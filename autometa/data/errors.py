"""What the data room says when a user's data cannot be used."""

from autometa.errors import InputError


class DataError(InputError):
    """Data are missing, damaged or too small; the message is one sentence and says what to do."""
