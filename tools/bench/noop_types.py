"""An operation type that does nothing, so that a benchmark measures what opsqueue adds."""

from opsqueue.model.kind import OperationKind, Params
from opsqueue.model.names import Sort


class NoParams(Params):
    """None."""


OPERATION = OperationKind(
    name="noop", summary="nothing at all", sort=Sort.LOOKING, params=NoParams, facts=lambda _params: ()
)
