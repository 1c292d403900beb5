"""Entities for the generated calls: people, places, organisations, phone numbers and dates, most of them composed.

Pools are crossed and built from syllables, so that held-out rows hold names that no training row has. Month and
virtue names (June, Baraka) are people, places or companies here and common words in `phrases.py`, on purpose.
"""

import random
from collections.abc import Sequence
from typing import Final, TypeVar

_Option = TypeVar("_Option")

ENTITY_TYPES: Final = ("PERSON", "LOCATION", "PHONE", "DATE", "ORGANISATION")


def _pool(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_FIRST_NAMES: Final = _pool(
    """
    Aisha Akinyi Ali Amani Amina April Asha Atieno August Baraka Bahati Beatrice Brian Catherine Chebet Daniel David
    Dorcas Ester Evans Fatuma Faith Farida Furaha George Grace Halima Hamisi Hassan Hope Imani Irene Jabari James Jane
    Joseph Juma June Kamau Khadija Kevin Kipchoge Lilian Makena Mariam Mary May Mercy Moses Mwajuma Mwangi Neema Njeri
    Nuru Omar Otieno Peter Pendo Rashid Rehema Rose Saida Salma Samuel Sarah Subira Sunday Tatu Tumaini Upendo Victor
    Wambui Wanjiku Yusuf Zainabu Zawadi Zuhura
    """
)
_NAME_STARTS: Final = _pool("Ki Mu Wa O Nya A Che Ma Lu Ka Nje Ndi Ru Mwa Si Be Ko To")
_NAME_MIDDLES: Final = _pool("ti ra mu ngo ke di bo li sa po ma ga be ro lo")
_NAME_ENDS: Final = _pool("no ri ngi le to ma si ya ni nda ka ro ga")
_TOWNS: Final = _pool(
    """
    Arusha Bagamoyo Bungoma Dodoma Eldoret Embu Garissa Geita Iringa Isiolo Kakamega Kampala Kericho Kibera Kigali
    Kigoma Kilifi Kisii Kisumu Kitale Kitui Lamu Lindi Lodwar Machakos Malindi Mbeya Meru Mombasa Morogoro Moshi Mtwara
    Musoma Mwanza Nairobi Naivasha Nakuru Nanyuki Narok Njombe Nyeri Pemba Singida Songea Tabora Tanga Thika Voi Wajir
    """
)
_COMPANY_NAMES: Final = _pool(
    """
    Amani Baraka Tumaini Umoja Furaha Neema Upendo Pwani Ziwa Mlima Savana Nyota Jua Mwanga Tai Simba Twiga Hope Grace
    Peace Unity Sunrise Victory Lakeside Highland Coastal Harvest Acacia Baobab Kilele Maendeleo Mkulima Jirani
    """
)
_COMPANY_FORMS: Final = {
    "en": ("{} Bank", "{} Sacco", "{} Couriers", "{} Water", "{} Energy", "{} Hospital", "{} Telecom", "{} Stores"),
    "sw": ("Benki ya {}", "{} Sacco", "Kampuni ya {}", "Shirika la {}", "Hospitali ya {}", "{} Telecom", "Duka la {}"),
}
_PLACE_FORMS: Final = {
    "en": ("{} Estate", "{} Road", "{} Market", "{} Village", "{} Town"),
    "sw": ("Mtaa wa {}", "Kijiji cha {}", "Soko la {}", "Barabara ya {}"),
}
_WEEKDAYS: Final = {
    "en": _pool("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "sw": _pool("Jumatatu Jumanne Jumatano Alhamisi Ijumaa Jumamosi Jumapili"),
}
_MONTHS: Final = {
    "en": _pool("January February March April May June July August September October November December"),
    "sw": _pool("Januari Februari Machi Aprili Mei Juni Julai Agosti Septemba Oktoba Novemba Desemba"),
}
_DATE_FORMS: Final = {
    "en": ("{weekday}", "{day} {month}", "{month} {day}", "{weekday} {day} {month}"),
    "sw": ("{weekday}", "tarehe {day} {month}", "{weekday} tarehe {day} {month}"),
}


class Dice:
    """Seeded choices made of `random.Random.random` alone: only its stream is promised across Python versions."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def number(self, low: int, high: int) -> int:
        """An integer in [low, high)."""
        return low + int(self._random() * (high - low))

    def pick(self, options: Sequence[_Option]) -> _Option:
        return options[self.number(0, len(options))]


def compose(dice: Dice, label: str, language: str) -> str:
    """The surface text of one entity of type `label` (see `ENTITY_TYPES`) in "en" or "sw"."""
    match label:
        case "PERSON":
            return _person(dice)
        case "LOCATION":
            return _location(dice, language)
        case "PHONE":
            return _phone(dice)
        case "DATE":
            return _date(dice, language)
        case "ORGANISATION":
            name = dice.pick(_COMPANY_NAMES) if dice.chance(0.7) else dice.pick(_TOWNS)
            return dice.pick(_COMPANY_FORMS[language]).format(name)
    raise ValueError(f"label: unknown {label!r}; known: {', '.join(ENTITY_TYPES)}")


def case_number(dice: Dice) -> str:
    """A reference such as "HL-4821": digits, but no phone number and no entity."""
    return f"{dice.pick(('HL', 'KS', 'CN'))}-{dice.number(1000, 10000)}"


def _built(dice: Dice) -> str:
    return dice.pick(_NAME_STARTS) + dice.pick(_NAME_MIDDLES) + dice.pick(_NAME_ENDS)


def _person(dice: Dice) -> str:
    first = dice.pick(_FIRST_NAMES)
    if dice.chance(0.35):
        return first
    if dice.chance(0.2):
        return f"{dice.pick(('Mama', 'Baba'))} {first}"
    return f"{first} {_built(dice)}"


def _location(dice: Dice, language: str) -> str:
    place = dice.pick(_TOWNS) if dice.chance(0.6) else _built(dice)
    return dice.pick(_PLACE_FORMS[language]).format(place) if dice.chance(0.4) else place


def _phone(dice: Dice) -> str:
    # No subscriber has these: +259 is a country code without a country; the others are Ofcom's ranges for fiction.
    if dice.chance(0.5):
        return f"+259 7{dice.number(10, 100)} {dice.number(100, 1000)} {dice.number(100, 1000)}"
    if dice.chance(0.5):
        return f"07700 900{dice.number(100, 1000)}"
    return f"020 7946 0{dice.number(100, 1000)}"


def _date(dice: Dice, language: str) -> str:
    return dice.pick(_DATE_FORMS[language]).format(
        weekday=dice.pick(_WEEKDAYS[language]), day=dice.number(1, 29), month=dice.pick(_MONTHS[language])
    )
