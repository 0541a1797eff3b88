"""Results for people to look at: contact sheets, and readings of single answers."""

from raylabel.review.sheets import write_contact_sheets

__all__ = ["write_contact_sheets"]
