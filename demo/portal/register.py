"""The portal's register of taxpayers: who is known, and what the portal shows about them.

Owns: the list and the form of a registration number. Called by: demo.portal.pages, tests. Survives a crash: it is
fixed text. Change also: demo/tasks.csv, whose registrations must stand here (all but the one that must not).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

REGISTRATION_LENGTH = 14
_ROWS = """
10482113000107|Harbour Lights Shipping|Porto Claro|Freight and forwarding|2009-03-17
11730952000164|Cassava & Sons Bakery|Vila Serena|Bakeries|1998-11-02
12055871000138|Meridian Optics|Aurora|Optical instruments|2014-06-23
13948206000191|Blue Heron Textiles|Santa Rita|Weaving and spinning|2003-01-30
14617340000122|Northgate Dental Clinic|Aurora|Dental practice|2017-08-08
15209987000175|Ipê Furniture Works|Campo Largo|Furniture|1989-05-12
16880415000103|Quartz Hill Mining|Serra Azul|Quarrying|2001-10-19
17334602000156|Lumen Electrical Supply|Porto Claro|Wholesale|2011-02-14
18091774000189|Pelican Coast Hotels|Praia Norte|Hotels|1995-12-01
19562038000110|Verdant Seed Company|Campo Largo|Agriculture|2006-09-27
20417359000143|Atlas Bridge Engineering|Aurora|Civil engineering|1992-04-06
21873046000198|Sabiá Music School|Vila Serena|Education|2019-03-11
22640915000131|Copper Kettle Coffee|Serra Azul|Coffee roasting|2015-07-20
23158402000174|Tidewater Fisheries|Praia Norte|Fishing|1985-01-15
24796130000106|Juniper Software House|Aurora|Software|2012-10-03
25380671000159|Old Mill Paper|Santa Rita|Paper and board|1979-06-30
"""


@dataclass(frozen=True)
class Taxpayer:
    """One entry of the register."""

    registration: str
    name: str
    city: str
    activity: str
    since: str

    @property
    def shown(self) -> str:
        """The registration as people write it: 10.482.113/0001-07."""
        digits = self.registration
        return f"{digits[:2]}.{digits[2:5]}.{digits[5:8]}/{digits[8:12]}-{digits[12:]}"


def find(typed: str) -> Taxpayer | None:
    """The taxpayer with this registration, however it is punctuated; None when the register doesn't know it."""
    digits = re.sub(r"\D", "", typed)
    return _REGISTER.get(digits) if len(digits) == REGISTRATION_LENGTH else None


def known() -> list[Taxpayer]:
    """Everyone in the register, by registration."""
    return list(_REGISTER.values())


def _read(rows: str) -> dict[str, Taxpayer]:
    taxpayers = (Taxpayer(*line.split("|")) for line in rows.strip().splitlines())
    return {taxpayer.registration: taxpayer for taxpayer in taxpayers}


_REGISTER = _read(_ROWS)
