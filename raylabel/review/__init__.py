"""Results for people to look at and to judge: a gallery, contact sheets, statistics, and readings of single answers."""

from raylabel.review.sheets import write_contact_sheets

__all__ = ["write_contact_sheets"]
