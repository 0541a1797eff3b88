"""What a person looks at: contact sheets of images with their boxes, phrases and outcomes."""

from raylabel.review.sheets import write_contact_sheets

__all__ = ["write_contact_sheets"]
