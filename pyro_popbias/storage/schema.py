"""The schema of run folders and checkpoints, and what reads an older one."""

from pyro_popbias.errors import SchemaVersionError

SCHEMA = 6
# the last revision of the repository that wrote each earlier schema; none of them was released
REVISIONS = {1: "4bbe838adc", 2: "34ef78ed67", 3: "eb22d76e3a", 4: "3f8f3e6c14", 5: "a461ecfc84"}


def refuse_other(found: object, what: str) -> None:
    """Refuse what has another schema than this version reads.

    Args:
        found: the schema.
        what: has it, for the message.

    Raises:
        SchemaVersionError: it is another one; the message says which version to use.
    """
    if found == SCHEMA and isinstance(found, int):
        return
    if isinstance(found, int) and found in REVISIONS:
        remedy = (
            f"open it with revision {REVISIONS[found]} of the package, the last that wrote schema {found}, or fit again"
        )
    else:
        remedy = "open it with the version in its manifest, or a later one"
    raise SchemaVersionError(f"PB-R096: {what} has schema {str(found)[:20]}, this version reads {SCHEMA}; {remedy}")
