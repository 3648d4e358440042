"""Imports every module that defines tables, so that `Base.metadata` is whole. Add a feature's models here."""

from __future__ import annotations

from assent_custodian import alarms, night, replay
from assent_custodian.base import Base
from assent_custodian.catalogue import models as catalogue
from assent_custodian.consent import models as consent
from assent_custodian.drills import models as drills
from assent_custodian.erasures import models as erasures
from assent_custodian.grants import models as grants
from assent_custodian.halting import models as halting
from assent_custodian.keys import models as keys
from assent_custodian.leases import models as leases
from assent_custodian.leaving import models as leaving
from assent_custodian.log import models as log
from assent_custodian.notifications import models as notifications
from assent_custodian.orders import models as orders
from assent_custodian.people import models as people
from assent_custodian.purposes import models as purposes
from assent_custodian.recalls import models as recalls
from assent_custodian.restoring import models as restoring
from assent_custodian.unmasking import models as unmasking

MODULES = (
    alarms,
    catalogue,
    consent,
    drills,
    erasures,
    grants,
    halting,
    keys,
    leases,
    leaving,
    log,
    night,
    notifications,
    orders,
    people,
    purposes,
    recalls,
    replay,
    restoring,
    unmasking,
)
METADATA = Base.metadata
