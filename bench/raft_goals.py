"""A number beside its goal, as the parts of ``bench.raft`` print it."""


def goal(what: str, value: float, bound: float, *, at_least: bool = False) -> bool:
    """Print a number beside its goal; say whether it is kept."""
    kept = value >= bound if at_least else value <= bound
    sign = ">=" if at_least else "<="
    print(f"  {what:<44}{value:>12,.2f}   goal {sign} {bound:,g}  {'kept' if kept else 'MISSED'}")
    return kept
