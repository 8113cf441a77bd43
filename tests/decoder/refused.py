"""One way to say no: where in the order of checks, and why."""

# The order of docs/format.md, "Order of checks". A relay gets as far as "payload".
STAGES = ("envelope", "header", "signature", "payload", "tag", "seal", "inner", "packet")


class Refused(Exception):
    """A decoder's refusal. `stage` is one of STAGES, or the kind of thing outside a bundle."""

    def __init__(self, stage: str, why: str):
        super().__init__(f"{stage}: {why}")
        self.stage, self.why = stage, why


class Opaque(Exception):
    """Not a refusal: the tool that would look inside is missing, and that is said aloud."""


def require(condition, stage: str, why: str):
    if not condition:
        raise Refused(stage, why)
