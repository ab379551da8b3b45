"""Why a credential is not handed out. No message and no fact of these ever holds anything of its value."""

from datasets.errors import PermanentError, SettingsError


class VaultError(PermanentError):
    """A credential is not handed out."""

    code = "vault"


class SecretMissingError(VaultError):
    """The tenant has no credential of that name, or not that version of it."""

    code = "secret_missing"


class SecretExpiredError(VaultError):
    """The day on which the credential ends is over."""

    code = "secret_expired"


class SecretRetiredError(VaultError):
    """The version was retired, or the grace period after its successor came is over."""

    code = "secret_retired"


class SecretUnreadableError(VaultError):
    """The ciphertext is not the one that was sealed for this tenant, name and version with this master key."""

    code = "secret_unreadable"


class MasterKeyError(SettingsError):
    """There is no master key, it is not one, or others may read its file."""

    code = "master_key"
