"""Every error whose message is meant for a person, as one tree.

    UserError
      ConfigError                  what a person wrote can't be used: a file, an option, a query
        ConfigurationFileError     the file that `model-serving check` or `model-serving bridge` was given
        CatalogError               a file of the catalog
        DocumentError              a values file or a routing file
        OptionError                an option of the command, or a variable of the environment
        QueryError                 a query of a monitor, a dashboard or an SLO
      ScrapeError                  a source could not be scraped: what a run of the check ends with
      PayloadError                 an answer that is no exposition, or beyond a limit
      RedirectError                a redirect that is not followed
      DeadlineError                no complete answer within the time that an endpoint has
      AccessError                  no usable answer from a Databricks workspace
        NotYet                     nothing was asked, and nobody failed: it is not the time for it
          RateLimited              the workspace limits requests
          Cancelled                the check was cancelled meanwhile
      CredentialsError             no valid credentials for a Databricks workspace
        TokenLimited               the token endpoint limits requests
      BodyError                    a body that can't be used
      DriverError                  NVML can't be used on this host now
      RealAgentError               this process belongs to an Agent, in which the stand-in for one must stay out
      TrafficError                 no usable answer about the calls of models, from Prometheus or Datadog
      SpoolError                   the bridge's spool can't be used
      DeliveryError                Datadog's intake takes nothing from the bridge, and waiting is no cure
      ProvisionError               an account, or a set of resources, that provisioning can't go on with
        ApiError                   a call to Datadog that didn't succeed
          Refused                  the API said no: nothing was done
          Unsure                   it is open whether the call was carried out
        Stopped                    the user stopped the run before a call had its turn

A message says what is wrong, where, and what to do instead; it never holds a secret. Whoever shows one shows it as it
is. Wrong instances are not in the tree: for those the check raises `datadog_checks.base.ConfigurationError`, which the
Agent and its tools know.

What modules tell each other by raising is no `UserError` but an `InternalSignal`. It is defined where it is raised,
and whoever catches it says in words of its own what it means.
"""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, where, and what to do instead: a message to be shown as it is."""


class InternalSignal(Exception):
    """Something that one part of the package tells another. It never leaves the package, nor reaches a person."""


class ConfigError(UserError):
    """What a person wrote can't be used: a file, an option, a query. Nothing was begun."""


class ConfigurationFileError(ConfigError):
    """A configuration file that can't be used; the text says which file, where in it, and what to do."""


class CatalogError(ConfigError):
    """A catalog file that cannot be read or says something that the check does not understand."""


class DocumentError(ConfigError):
    """A values file, a routing file or another document that can't be used; the text names the file and the place in
    it, with a line for each place where there are several."""


class OptionError(ConfigError):
    """An option of the command, or a variable of the environment, that is missing or can't be right."""


class QueryError(ConfigError):
    """A query that can't be read. `column` counts from 1; `id` names the check in docs/lint.md.

    `certain` is false where Datadog may know a form that the parser doesn't.
    """

    def __init__(self, message: str, column: int, certain: bool = True, id: str = "query/syntax") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.certain = certain
        self.id = id if certain else "query/unknown"


class ScrapeError(UserError):
    """A source could not be scraped. The message says which, why, and what to do."""


class PayloadError(UserError):
    """An answer that is no exposition, or one beyond a limit."""


class RedirectError(UserError):
    """A redirect that is not followed. The message says where it leads to, without secrets."""


class DeadlineError(UserError):
    """No complete answer within the time that an endpoint has."""


class AccessError(UserError):
    """No usable answer. The message says what and what to do; `status` is that of HTTP, or None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotYet(AccessError):
    """Nothing was asked, and nobody failed: it is not the time for it."""


class RateLimited(NotYet):
    """The workspace is left alone for `seconds` more, which is longer than the caller has."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Databricks limits requests (HTTP 429): nothing is sent for another {seconds:.0f} s. Where this happens "
            "often, raise `min_collection_interval`, or watch fewer endpoints",
            429,
        )
        self.seconds = seconds


class Cancelled(NotYet):
    """The check was cancelled while a request waited."""

    def __init__(self) -> None:
        super().__init__("the check was cancelled")


class CredentialsError(UserError):
    """No valid credentials can be had. The message says what, where and what to do, and holds no secret."""


class TokenLimited(CredentialsError):
    """The token endpoint asks to be left alone for `seconds`."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class BodyError(UserError):
    """A body that can't be used. The message says why, and holds nothing of the body."""


class DriverError(UserError):
    """NVML can't be used on this host now. `absent` tells a host without NVIDIA GPUs from one in trouble."""

    def __init__(self, message: str, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent


class RealAgentError(UserError):
    """This process belongs to an Agent, or something that passes for one: the stand-in must stay out."""


class TrafficError(UserError):
    """No usable answer about the calls of models. The message says from where, why, and what to do."""


class SpoolError(UserError):
    """The bridge's spool can't be opened, read or written. The message names the file and what to do."""


class DeliveryError(UserError):
    """Datadog's intake takes nothing from the bridge, and waiting is no cure, as where it refuses the key."""


class ProvisionError(UserError):
    """An account, or a set of resources, that provisioning can't go on with: what, where and what to do."""


class ApiError(ProvisionError):
    """A call that didn't succeed. `words` is what the API said, without secrets; `status` its HTTP status, or None
    where no whole answer came."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words if status is None else f"{status}: {words}")
        self.words = words
        self.status = status


class Refused(ApiError):
    """The API said no: nothing was done."""


class Unsure(ApiError):
    """No answer, half of one, or an error of the server: the call may have been carried out or not."""


class Stopped(ProvisionError):
    """The user stopped the run while a call was waiting for its turn."""
