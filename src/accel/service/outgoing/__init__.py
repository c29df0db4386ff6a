"""Events out: who wants to know what, signed, sent until they got it."""

from accel.service.outgoing.bodies import emit
from accel.service.outgoing.send import Deliveries, Sender
from accel.service.outgoing.signing import sign

__all__ = ["Deliveries", "Sender", "emit", "sign"]
